"""Generated fingers: ridges of the right width along the right flow, distinct per finger."""

import numpy as np
import pytest

from biometric_core.imaging.fingerprint import normalisation
from biometric_core.sources.generator.finger import SHARES, Pattern, finger_of, orientation_field
from biometric_core.sources.generator.finger_captures import SHAPE, render_finger
from biometric_core.sources.generator.noise import rng_of

SMALL = (96, 96)  # growing ridges is what takes time


def capture(finger: int, impression: int = 1, shape: tuple[int, int] = SMALL) -> np.ndarray:
    return render_finger((7, finger, 1), (7, finger, 1, impression), shape)


def poincare_sum(orientation: np.ndarray) -> int:
    """Half turns of the orientation along the border, in the image's sense: loops, not minutiae."""
    border = np.concatenate(
        [orientation[0], orientation[1:, -1], orientation[-1, -2::-1], orientation[-2::-1, 0]]
    )
    steps = (np.diff(border) + np.pi / 2) % np.pi - np.pi / 2
    return round(float(steps.sum() / np.pi))


def turns(orientation: np.ndarray) -> tuple[int, int]:
    """Number of cores and deltas: Poincaré index around every block of four pixels."""
    loop = np.stack(
        [
            orientation[:-1, :-1],
            orientation[1:, :-1],
            orientation[1:, 1:],
            orientation[:-1, 1:],
            orientation[:-1, :-1],
        ]
    )
    steps = (np.diff(loop, axis=0) + np.pi / 2) % np.pi - np.pi / 2
    index = np.rint(steps.sum(0) / np.pi).astype(int)
    return int((index == 1).sum()), int((index == -1).sum())


@pytest.mark.parametrize(
    ("pattern", "points"),
    [
        (Pattern.ARCH, 0),
        (Pattern.TENTED_ARCH, 1),
        (Pattern.LEFT_LOOP, 1),
        (Pattern.RIGHT_LOOP, 1),
        (Pattern.WHORL, 2),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_pattern_has_its_cores_and_deltas(pattern, points, seed):
    orientation = orientation_field(rng_of((seed, 3)), pattern, (248, 216))
    cores, deltas = turns(orientation)
    assert cores == points
    assert deltas <= points  # a delta may lie beyond the border
    assert poincare_sum(orientation) == deltas - cores


def test_shares_of_patterns_sum_to_one():
    assert sum(SHARES.values()) == pytest.approx(1)
    assert set(SHARES) == set(Pattern)


def test_same_seeds_give_same_bytes_and_other_impressions_differ():
    first, again, other = capture(1), capture(1), capture(1, 2)
    assert first.dtype == np.uint8
    assert first.shape == SMALL
    assert first.tobytes() == again.tobytes()
    assert np.mean(first != other) > 0.5


@pytest.mark.parametrize("finger", [1, 2])
def test_ridges_lie_eight_or_nine_pixels_apart(finger):
    ridges = finger_of((7, finger, 1), SMALL).ridges
    window = np.outer(np.hanning(ridges.shape[0]), np.hanning(ridges.shape[1]))
    power = np.abs(np.fft.fft2((ridges - ridges.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) for side in power.shape[::-1]]))
    mean = (power * frequency).sum() / power.sum()
    assert 7 < 1 / mean < 11


def test_the_preparation_for_real_fingers_accepts_them():
    samples = [normalisation.prepare(capture(1, k, SHAPE)) for k in (1, 2, 3)]
    assert all(sample.quality["overall"] > 0.3 for sample in samples)


def test_the_master_print_is_what_impressions_share():
    """The ridges of two captures agree after the best shift; those of two fingers do not."""

    def peak(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        full = (192, 192)
        both = np.fft.rfft2(a, full) * np.conj(np.fft.rfft2(b, full))
        return float(np.fft.irfft2(both, full).max() / np.sqrt((a**2).sum() * (b**2).sum()))

    def high_pass(image: np.ndarray) -> np.ndarray:
        pixels = image.astype(float)
        rows = np.fft.fftfreq(pixels.shape[0])[:, None]
        radius = np.hypot(rows, np.fft.fftfreq(pixels.shape[1]))
        return np.fft.ifft2(np.fft.fft2(pixels) * ((radius > 0.07) & (radius < 0.2))).real

    images = {(f, k): high_pass(capture(f, k)) for f in range(1, 5) for k in range(1, 5)}
    mated, other = [], []
    for (f, k), image in images.items():
        for (g, m), second in images.items():
            if (f, k) < (g, m):
                (mated if f == g else other).append(peak(image, second))
    assert np.median(mated) > np.median(other) + 0.08
