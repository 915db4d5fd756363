import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.imaging.iris import circles
from biometric_core.imaging.iris.circles import Circle

ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False, dtype=np.float32)


@given(st.floats(-50, 400), st.floats(-50, 400), st.floats(5, 150))
def test_fit_recovers_a_circle_despite_a_tenth_of_outliers(x, y, r):
    radii = np.full(72, r)
    radii[3::10] *= 1.3
    fitted = circles.fit(x + radii * np.cos(ANGLES), y + radii * np.sin(ANGLES), np.full(72, 20.0))
    assert fitted is not None
    np.testing.assert_allclose((fitted.x, fitted.y, fitted.r), (x, y, r), atol=0.02 * r + 0.01)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_faint_points_make_no_circle(weight):
    assert circles.fit(np.cos(ANGLES), np.sin(ANGLES), np.full(72, weight)) is None


def test_points_on_a_line_make_no_circle():
    line = np.arange(72.0)
    assert circles.fit(line, 2 * line, np.full(72, 20.0)) is None


def test_rays_sample_where_they_say():
    image = np.add.outer(1000 * np.arange(40), np.arange(50)).astype(np.float32)  # value 1000 y + x
    found = circles.rays(
        image, Circle(20, 15, 1), np.array([0.0, 10.0]), np.float32([0, np.pi / 2])
    )
    np.testing.assert_allclose(found, [[15020, 15020], [15030, 25020]], atol=0.5)


def test_scaling_there_and_back_is_the_same_circle():
    back = Circle(10.2, 33.1, 7.0).scaled(2.5).scaled(1 / 2.5)
    np.testing.assert_allclose((back.x, back.y, back.r), (10.2, 33.1, 7.0))
