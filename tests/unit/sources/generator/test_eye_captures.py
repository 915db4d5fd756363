"""Generated eyes: the truth is true, captures of an eye differ, eyes differ more."""

import numpy as np
import pytest

from biometric_core.imaging.iris import phase_code
from biometric_core.imaging.iris.localisation import localise
from biometric_core.imaging.iris.normalisation import prepare
from biometric_core.sources.generator.eye_captures import SHAPE, Circle, render_eye

EYES = range(1, 7)


def capture(eye: int, impression: int = 1) -> tuple:
    return render_eye((7, eye, 0), (7, eye, impression))


def ring_means(image: np.ndarray, circle: Circle, offsets: tuple[float, ...]) -> list[float]:
    """Mean gray level on circles `offsets` pixels off `circle`, left and right where no lid is."""
    angles = np.deg2rad(np.concatenate([np.linspace(-15, 25, 30), np.linspace(155, 195, 30)]))
    return [
        image[
            np.rint(circle.y + (circle.r + offset) * np.sin(angles)).astype(int),
            np.rint(circle.x + (circle.r + offset) * np.cos(angles)).astype(int),
        ].mean()
        for offset in offsets
    ]


def test_same_seeds_give_same_bytes_and_other_impressions_differ():
    first, again, other = capture(1)[0], capture(1)[0], capture(1, 2)[0]
    assert first.dtype == np.uint8
    assert first.shape == SHAPE
    assert first.tobytes() == again.tobytes()
    assert np.mean(first != other) > 0.5


@pytest.mark.parametrize("eye", EYES)
def test_gray_levels_rise_across_the_true_circles(eye):
    image, truth = capture(eye)
    inside_pupil, iris = ring_means(image, truth.pupil, (-5, 5))
    iris_edge, sclera = ring_means(image, truth.limbus, (-6, 6))
    assert iris > inside_pupil + 15
    assert sclera > iris_edge + 10


@pytest.mark.parametrize("eye", EYES)
def test_truth_is_plausible(eye):
    _, truth = capture(eye)
    offset = np.hypot(truth.pupil.x - truth.limbus.x, truth.pupil.y - truth.limbus.y)
    assert offset + truth.pupil.r < truth.limbus.r
    assert 0.3 <= truth.pupil.r / truth.limbus.r <= 0.6
    assert truth.upper_lid.shape == truth.lower_lid.shape == (SHAPE[1],)
    assert np.all(truth.upper_lid <= truth.lower_lid + 1e-3)
    assert 0.4 < truth.visible <= 1


def test_visible_share_follows_the_lids():
    truths = [capture(eye)[1] for eye in range(1, 21)]
    overlap = [
        max(0.0, truth.upper_lid[round(truth.limbus.x)] - (truth.limbus.y - truth.limbus.r))
        + max(0.0, truth.limbus.y + truth.limbus.r - truth.lower_lid[round(truth.limbus.x)])
        for truth in truths
    ]
    visible = [truth.visible for truth in truths]
    assert np.corrcoef(overlap, visible)[0, 1] < -0.8


def test_the_localiser_for_real_eyes_finds_the_truth():
    near = []
    for eye in range(1, 11):
        for impression in (1, 2):
            image, truth = capture(eye, impression)
            found = localise(image)
            pairs = ((found.pupil, truth.pupil), (found.limbus, truth.limbus))
            near.append(
                max(max(abs(a.x - b.x), abs(a.y - b.y), abs(a.r - b.r)) for a, b in pairs) <= 3
            )
    assert np.mean(near) >= 0.9


def test_an_eye_is_nearer_to_itself_than_to_others():
    samples = [prepare(capture(eye, k)[0]) for eye in EYES for k in (1, 2)]
    codes = phase_code.encode(
        np.stack([sample.image for sample in samples]), np.stack([s.mask for s in samples])
    )
    distances = phase_code.distances(codes, codes)
    eyes = np.repeat(np.arange(len(EYES)), 2)
    mated = eyes[:, None] == eyes
    np.fill_diagonal(mated, False)
    assert distances[mated].mean() < 0.3
    assert distances[mated].mean() > 0.02, "captures of an eye must differ"
    assert distances[eyes[:, None] != eyes].mean() > 0.4
