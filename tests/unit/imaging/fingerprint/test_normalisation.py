import numpy as np
import pytest

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.fingerprint import core, normalisation, ridge_period, segmentation
from tests.support.drawn_captures import (
    REAL_FINGERS,
    REAL_SUBJECTS,
    draw_eye,
    draw_finger,
    noise_image,
    real_images,
)


@pytest.mark.parametrize(("period", "shape"), [(9.0, (374, 388)), (3.6, (103, 96))])
def test_both_resolutions_come_to_the_same_ridge_scale(period, shape):
    sample = normalisation.prepare(draw_finger(period, shape))
    assert sample.image.shape == sample.mask.shape == (224, 224)
    found, _ = ridge_period.period(sample.image)
    assert found == pytest.approx(normalisation.PERIOD, rel=0.2)


def test_only_the_finger_is_usable_and_all_else_is_level():
    gray = draw_finger(9.0, (300, 300))
    gray[:, :150] = 245  # a partial contact: the right half
    sample = normalisation.prepare(gray)
    share = (sample.mask > 0).mean()
    assert 0.15 < share < 0.85
    assert (sample.image[sample.mask == 0] == 128).all()
    assert set(np.unique(sample.mask)) <= {0, 255}


def likeness(one, other):
    """Correlation around the core, which a small error of the turn leaves in place."""
    both = (one.mask > 0) & (other.mask > 0)
    both[:48], both[-48:], both[:, :48], both[:, -48:] = False, False, False, False
    return max(
        np.corrcoef(one.image[both], np.roll(other.image, (dy, dx), (0, 1))[both])[0, 1]
        for dy in range(-3, 4)
        for dx in range(-3, 4)
    )


@pytest.mark.parametrize("centre", [(150, 190), (200, 170), (230, 200)])
@pytest.mark.parametrize("turn", [-20, 0, 12])
def test_a_moved_and_turned_finger_gives_the_same_sample(centre, turn):
    still = normalisation.prepare(draw_finger())
    moved = normalisation.prepare(draw_finger(centre=centre, turn=turn))
    assert likeness(still, moved) > 0.55  # 0.5 without its turn, 0.2 without the core


@pytest.mark.parametrize("turn", [-20, 0, 12])
def test_the_core_and_its_direction_are_found(turn):
    gray = draw_finger(5.0, (220, 220), centre=(120, 100), turn=turn)
    mask = segmentation.foreground(gray, 5.0)
    normal = segmentation.normalise(gray, mask, 5.0)
    found = core.find(normal, mask, 5.0, segmentation.centre(mask))
    np.testing.assert_allclose((found.x, found.y), (120, 100), atol=10)
    assert found.tilt == pytest.approx(turn, abs=6)


def test_contrast_of_the_capture_does_not_change_the_sample():
    gray = draw_finger()
    faint = (gray * 0.5 + 90).astype(np.uint8)
    one, other = normalisation.prepare(gray), normalisation.prepare(faint)
    assert likeness(one, other) > 0.8


@pytest.mark.parametrize(
    ("gray", "reason"),
    [
        (np.zeros((300, 300), np.uint8), "low_contrast"),
        (np.full((96, 103), 255, np.uint8), "low_contrast"),
        (noise_image(0), "no_ridges"),
        (noise_image(1), "no_ridges"),
        (noise_image(4), "no_ridges"),
        (noise_image(20), "no_ridges"),
        (np.tile(np.linspace(0, 255, 320).astype(np.uint8), (240, 1)), "no_ridges"),
        (draw_eye(), "no_ridges"),
        (noise_image(1, shape=(32, 400)), "odd_shape"),
    ],
)
def test_what_is_no_finger_fails_to_acquire_with_its_reason(gray, reason):
    with pytest.raises(FailureToAcquire) as failure:
        normalisation.prepare(gray)
    assert failure.value.reason == reason


@pytest.mark.parametrize("shape", [(32, 32), (33, 100), (100, 33), (97, 131)])
def test_odd_sizes_never_crash(shape):
    for seed in range(3):
        with pytest.raises(FailureToAcquire):
            normalisation.prepare(noise_image(0, seed, shape))


def test_a_small_patch_of_finger_is_too_little():
    gray = np.full((600, 600), 245, np.uint8)
    gray[270:310, 270:310] = draw_finger(9.0, (300, 300))[120:160, 120:160]
    with pytest.raises(FailureToAcquire):
        normalisation.prepare(gray)


def test_quality_falls_with_noise_and_is_within_bounds():
    clear = normalisation.prepare(draw_finger(noise=2)).quality
    noisy = normalisation.prepare(draw_finger(noise=90)).quality
    assert 0 <= noisy["overall"] < clear["overall"] <= 1


if REAL_SUBJECTS.is_file():

    def test_every_real_low_resolution_finger_is_acquired():
        for _, gray in list(real_images(REAL_SUBJECTS, ".BMP"))[::5]:
            assert (normalisation.prepare(gray).mask > 0).mean() > 0.1


if REAL_FINGERS.is_file():

    def test_the_ridge_period_is_a_property_of_the_finger():
        periods = [ridge_period.period(gray)[0] for _, gray in real_images(REAL_FINGERS, ".tif")]
        by_finger = np.reshape(periods, (10, 8))
        assert ((by_finger > 6.5) & (by_finger < 12)).all()  # 500 dpi
        assert np.median(by_finger.std(axis=1)) < 0.5
