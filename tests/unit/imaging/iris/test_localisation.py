import contextlib

import cv2
import numpy as np
import pytest

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris.localisation import localise
from biometric_core.sources.generator.eye_captures import render_eye
from tests.support.drawn_captures import (
    REAL_SUBJECTS,
    draw_eye,
    draw_finger,
    noise_image,
    real_images,
)


def assert_circle(found, truth, pixels):
    np.testing.assert_allclose((found.x, found.y, found.r), truth, atol=pixels)


@pytest.mark.parametrize(
    ("pupil", "limbus"),
    [
        ((150.3, 122.6, 21.0), (152.0, 121.0, 54.0)),
        ((80.0, 100.0, 30.0), (77.0, 101.5, 52.0)),  # dilated, gaze to the side
        ((220.5, 140.2, 12.0), (224.0, 139.0, 45.0)),  # constricted, not concentric
        ((160.0, 120.0, 32.0), (160.0, 118.0, 85.0)),
    ],
)
def test_circles_of_drawn_eyes_within_a_pixel_and_a_half(pupil, limbus):
    where = localise(draw_eye(pupil=pupil, limbus=limbus))
    assert_circle(where.pupil, pupil, 1.0)
    assert_circle(where.limbus, limbus, 1.5)


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_the_same_eye_at_another_resolution_gives_the_same_circles(factor):
    gray = draw_eye()
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=mode)
    here, there = localise(gray), localise(scaled)
    for one, other in ((here.pupil, there.pupil), (here.limbus, there.limbus)):
        back = other.scaled(1 / factor)
        assert_circle(back, (one.x, one.y, one.r), 0.7)


def test_generated_eyes_within_two_pixels():
    errors = []
    for eye in range(25):
        gray, truth = render_eye(eye, eye + 1000)
        where = localise(gray)
        for found, true in ((where.pupil, truth.pupil), (where.limbus, truth.limbus)):
            errors.append(max(np.hypot(found.x - true.x, found.y - true.y), abs(found.r - true.r)))
    assert np.mean(np.array(errors) < 2) >= 0.98


@pytest.mark.parametrize(
    ("gray", "reason"),
    [
        (np.zeros((240, 320), np.uint8), "low_contrast"),
        (np.full((240, 320), 255, np.uint8), "low_contrast"),
        (noise_image(0), "no_pupil"),
        (noise_image(30), "no_pupil"),
        (np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1)), "no_pupil"),
        (draw_finger(), "no_pupil"),
        (draw_finger(3.4, (103, 96)), "no_pupil"),
        (noise_image(1, shape=(32, 320)), "too_small"),
        (noise_image(1, shape=(90, 400)), "odd_shape"),
    ],
)
def test_what_is_no_eye_fails_to_acquire_with_its_reason(gray, reason):
    with pytest.raises(FailureToAcquire) as failure:
        localise(gray)
    assert failure.value.reason == reason


def test_a_pupil_without_a_limbus_is_refused():
    gray = np.full((240, 320), 170, np.uint8)
    cv2.circle(gray, (160, 120), 20, 20, -1)
    with pytest.raises(FailureToAcquire, match="no_limbus"):
        localise(cv2.GaussianBlur(gray, (0, 0), 1.0))


@pytest.mark.parametrize("shape", [(32, 32), (33, 100), (100, 33), (97, 131), (131, 97)])
def test_odd_sizes_never_crash(shape):
    for seed in range(3):
        with contextlib.suppress(FailureToAcquire):
            assert localise(noise_image(0, seed, shape)).pupil.r > 0


if REAL_SUBJECTS.is_file():

    def test_real_eyes_are_all_found_with_plausible_circles():
        for _, gray in list(real_images(REAL_SUBJECTS, ".bmp"))[::7]:
            where = localise(gray)
            offset = np.hypot(where.pupil.x - where.limbus.x, where.pupil.y - where.limbus.y)
            assert 0.25 < where.pupil.r / where.limbus.r < 0.7
            assert 38 < where.limbus.r < 75  # what this sensor's distance allows
            assert offset < 0.2 * where.limbus.r
