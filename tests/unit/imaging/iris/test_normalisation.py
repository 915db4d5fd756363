import contextlib
import time

import cv2
import numpy as np
import pytest

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import normalisation
from biometric_core.sources.generator.eye_captures import render_eye
from tests.support.drawn_captures import draw_eye, noise_image


def test_a_sample_has_the_asked_shape_and_normalised_contrast():
    sample = normalisation.prepare(draw_eye(), (32, 256))
    assert sample.image.shape == sample.mask.shape == (32, 256)
    assert set(np.unique(sample.mask)) <= {0, 255}
    usable = sample.image[sample.mask > 0]
    assert abs(usable.mean() - 128) < 3
    assert abs(usable.std() - 40) < 4
    assert (sample.image[sample.mask == 0] == 128).all()


def test_the_same_capture_gives_the_same_bytes():
    gray = draw_eye()
    one, other = normalisation.prepare(gray), normalisation.prepare(gray.copy())
    assert one.image.tobytes() == other.image.tobytes()
    assert one.quality == other.quality


def test_brightness_and_contrast_of_the_capture_do_not_change_the_sample():
    gray = draw_eye()
    dimmed = np.round(gray * 0.7 + 10).astype(np.uint8)
    one, other = normalisation.prepare(gray), normalisation.prepare(dimmed)
    both = (one.mask > 0) & (other.mask > 0)
    assert both.mean() > 0.6
    assert np.corrcoef(one.image[both], other.image[both])[0, 1] > 0.95


def test_quality_is_within_bounds_and_falls_with_blur_and_with_lids():
    sharp = normalisation.prepare(draw_eye(lids=False))
    blurred = normalisation.prepare(cv2.GaussianBlur(draw_eye(lids=False), (0, 0), 3))
    covered = normalisation.prepare(draw_eye())
    for sample in (sharp, blurred, covered):
        assert all(0 <= value <= 1 for value in sample.quality.values())
    assert blurred.quality["overall"] < sharp.quality["overall"]
    assert covered.quality["usable_area"] < sharp.quality["usable_area"]


def test_generated_eyes_are_acquired():
    for eye in range(12):
        gray, truth = render_eye(eye, eye + 500)
        if truth.visible > 0.5:
            assert (normalisation.prepare(gray).mask > 0).mean() > 0.3


def test_an_iris_outside_the_picture_is_no_iris():
    gray = draw_eye(pupil=(12.0, 122.0, 21.0), limbus=(12.0, 121.0, 54.0))
    with pytest.raises(FailureToAcquire):
        normalisation.prepare(gray[:, 14:])


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_turned_captures_never_crash(turn):
    # A stated failure is one right answer, a sample that says how good it is the other.
    with contextlib.suppress(FailureToAcquire):
        sample = normalisation.prepare(np.ascontiguousarray(np.rot90(draw_eye(), turn)))
        assert 0 <= sample.quality["overall"] <= 1


def test_noise_is_seldom_taken_for_an_eye():
    accepted = 0
    for seed in range(8):
        for sigma in (0, 1, 2, 16, 30):
            try:
                normalisation.prepare(noise_image(sigma, seed))
            except FailureToAcquire:
                continue
            accepted += 1
    assert accepted <= 4


def test_preparing_is_fast_enough():
    gray = draw_eye()
    normalisation.prepare(gray)
    start = time.process_time()
    for _ in range(10):
        normalisation.prepare(gray)
    assert (
        time.process_time() - start
    ) / 10 < 0.1  # 10 ms when quiet; the bound only stops blunders
