"""Simulated change of a sensor."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.errors import ConfigError
from biometric_core.imaging.fingerprint.normalisation import prepare as prepare_finger
from biometric_core.imaging.iris import phase_code
from biometric_core.imaging.iris.normalisation import prepare as prepare_eye
from biometric_core.sources.generator.eye_captures import render_eye
from biometric_core.sources.generator.finger_captures import render_finger
from biometric_core.sources.sensor_change import CHANGED, SensorChange, apply


def eye(number: int, impression: int) -> np.ndarray:
    return render_eye((2, number, 0), (2, number, impression))[0]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_no_change_changes_nothing():
    image = eye(1, 1)
    changed = apply(image, SensorChange(), rng())
    assert np.array_equal(changed, image)
    assert changed is not image


def test_deterministic_for_a_state_of_the_generator():
    image = eye(1, 1)
    assert np.array_equal(apply(image, CHANGED, rng(5)), apply(image, CHANGED, rng(5)))
    assert not np.array_equal(apply(image, CHANGED, rng(5)), apply(image, CHANGED, rng(6)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (SensorChange(offset=10), 110),
        (SensorChange(gain=2), 72),  # (100 - 127.5) * 2 + 127.5, to the even neighbour
        (SensorChange(gamma=2), 39),  # 255 * (100 / 255) ** 2
        (SensorChange(gain=5, offset=-255), 0),
        (SensorChange(blur_sigma=2), 100),
    ],
)
def test_each_effect_on_a_plain_image(change, expected):
    assert np.all(apply(np.full((32, 40), 100, np.uint8), change, rng()) == expected)


def test_noise_gradient_and_compression():
    plain = np.full((64, 64), 100, np.uint8)
    assert apply(plain, SensorChange(noise_sigma=5), rng()).std() == pytest.approx(5, rel=0.1)
    sloped = apply(plain, SensorChange(gradient=0.3), rng()).astype(float)
    assert sloped.mean() == pytest.approx(100, abs=1)
    assert np.ptp(sloped) > 50
    image = eye(1, 1)
    lossy = apply(image, SensorChange(jpeg_quality=20), rng())
    assert 0 < np.abs(lossy.astype(int) - image).mean() < 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"blur_sigma": -0.1},
        {"gain": 0},
        {"offset": 256},
        {"gamma": math.nan},
        {"noise_sigma": math.inf},
        {"gradient": 1.1},
        {"jpeg_quality": 0},
    ],
)
def test_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SensorChange(**wrong)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8)])
def test_only_gray_images(wrong):
    with pytest.raises(ValueError, match="uint8"):
        apply(wrong, SensorChange(), rng())


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        SensorChange,
        blur_sigma=st.floats(0, 10),
        gain=st.floats(0.05, 5),
        offset=st.floats(-255, 255),
        gamma=st.floats(0.2, 5),
        noise_sigma=st.floats(0, 100),
        gradient=st.floats(0, 1),
        jpeg_quality=st.none() | st.integers(1, 100),
    ),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_change_of_any_image_gives_an_image(change, shape):
    image = rng().integers(0, 256, shape).astype(np.uint8)
    changed = apply(image, change, rng())
    assert changed.dtype == np.uint8
    assert changed.shape == shape


def test_the_story_s_change_leaves_captures_acquirable_but_clearly_worse():
    people, before, after = range(1, 9), [], []
    for number in people:
        before += [prepare_eye(eye(number, 1))]
        after += [
            prepare_eye(eye(number, 2)),
            prepare_eye(apply(eye(number, 2), CHANGED, rng(number))),
        ]
        finger = render_finger((2, number, 1), (2, number, 1, 1), (128, 112))
        prepare_finger(apply(finger, CHANGED, rng(number)))

    def codes(samples: list) -> phase_code.PhaseCodes:
        return phase_code.encode(
            np.stack([s.image for s in samples]), np.stack([s.mask for s in samples])
        )

    reference = codes(before)
    calm = np.diag(phase_code.distances(codes(after[::2]), reference))
    changed = np.diag(phase_code.distances(codes(after[1::2]), reference))
    assert changed.mean() > calm.mean() + 0.08
    assert changed.mean() < 0.42
