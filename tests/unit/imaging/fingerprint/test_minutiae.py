"""Minutiae templates: what nbis finds, and how well two fingers can be brought together."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from biometric_core.imaging.fingerprint import minutia_matching, minutiae, normalisation
from biometric_core.imaging.fingerprint.minutiae import MinutiaeTemplates
from biometric_core.matching import error_rates
from biometric_core.matching.calibration import cllr
from biometric_core.matching.templates import Compared
from biometric_core.sources.generator.finger_captures import render_finger
from biometric_core.sources.sensor_change import WORN, apply
from tests.support.drawn_captures import REAL, REAL_FINGERS, REAL_SUBJECTS, noise_image, real_images

FINGERS, IMPRESSIONS = 5, 3
LABELS = np.repeat(np.arange(FINGERS), IMPRESSIONS)


def encode(captures) -> MinutiaeTemplates:
    samples = [normalisation.prepare(gray) for gray in captures]
    return minutiae.encode(
        np.stack([sample.image for sample in samples]), np.stack([s.mask for s in samples])
    )


@cache
def captures(worn: bool = False) -> list[np.ndarray]:
    drawn = [
        render_finger((5, finger, 1), (5, finger, 1, impression))
        for finger in range(FINGERS)
        for impression in range(1, IMPRESSIONS + 1)
    ]
    rng = np.random.default_rng(0)
    return [apply(gray, WORN, rng) for gray in drawn] if worn else drawn


@pytest.fixture(scope="module")
def templates() -> MinutiaeTemplates:
    return encode(captures())


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """Number of references of each call of the matcher."""
    calls, real = [], minutia_matching.similarities

    def counted(probe, references):
        calls.append(len(references))
        return real(probe, references)

    monkeypatch.setattr(minutia_matching, "similarities", counted)
    return calls


def pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.triu_indices(len(labels), 1)
    return scores[rows].astype(np.float64), (labels[:, None] == labels[None, :])[rows]


@pytest.mark.parametrize("worn", [False, True])
def test_mated_above_non_mated(worn):
    found = encode(captures(worn))
    scores, mated = pairs(LABELS, found.similarities(found))
    assert scores[mated].min() > scores[~mated].max()
    # uncalibrated sets: the default errs on the safe side, and is of use
    ratios = minutiae.DEFAULT_WEIGHT * scores + minutiae.DEFAULT_BIAS
    assert (ratios[~mated] < 0.5).all()
    assert cllr(ratios, mated) < 0.1


def test_symmetric_finite_and_highest_for_itself(templates):
    scores = templates.similarities(templates)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    one_way = np.stack([minutia_matching.similarities(t, templates.items) for t in templates.items])
    assert one_way == pytest.approx(one_way.T, abs=1e-4)
    assert scores == pytest.approx(one_way, abs=1e-4)
    assert (scores.argmax(axis=1) == np.arange(len(scores))).all()


def test_neither_place_nor_rotation_matters(templates):
    one = templates.items[0]
    turn = np.complex64(np.exp(0.4j))
    # flow and seen are as the minutia sees them: the same wherever the finger lies
    moved = minutia_matching.Minutiae(
        one.places * turn + np.complex64(9 - 4j), one.directions * turn, one.flow, one.seen
    )
    others = templates.items[:6]
    expected = minutia_matching.similarities(one, others)
    assert minutia_matching.similarities(moved, others) == pytest.approx(expected, abs=1e-3)


def test_a_finger_turned_before_it_is_encoded_is_found_again(templates):
    sample = normalisation.prepare(captures()[0])
    turned = [np.rot90(part)[None].copy() for part in (sample.image, sample.mask)]
    scores = minutiae.encode(*turned).similarities(templates)[0]
    assert scores.argmax() == 0
    assert scores[0] > 2


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.full((224, 224), 128, np.uint8), np.full((224, 224), 255, np.uint8)),
        (np.full((224, 224), 128, np.uint8), np.zeros((224, 224), np.uint8)),
        (noise_image(0, shape=(224, 224)), np.full((224, 224), 255, np.uint8)),
        (noise_image(2, shape=(224, 224)), np.full((224, 224), 255, np.uint8)),
        (noise_image(1, shape=(40, 30)), np.full((40, 30), 255, np.uint8)),
        (np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)),
    ],
)
def test_what_is_no_finger_is_like_no_finger(templates, image, mask):
    scores = minutiae.encode(image[None], mask[None]).similarities(templates)
    assert np.isfinite(scores).all()
    assert scores.max() < 0.6


def test_too_few_minutiae_score_zero_even_with_themselves(templates):
    one = templates.items[0]
    kept = slice(0, minutia_matching.FEWEST - 1)
    few = minutia_matching.Minutiae(
        one.places[kept], one.directions[kept], one.flow[kept], one.seen[kept]
    )
    mixed = MinutiaeTemplates([few, one])
    assert (mixed.similarities(mixed) > 0).tolist() == [[False, False], [False, True]]


def test_no_samples():
    none = minutiae.encode(np.zeros((0, 224, 224), np.uint8), np.zeros((0, 224, 224), np.uint8))
    assert len(none) == 0
    assert none.similarities(none).shape == (0, 0)


def test_a_batch_is_as_one_by_one(templates):
    sample = normalisation.prepare(captures()[4])
    alone = minutiae.encode(sample.image[None], sample.mask[None])
    whole = alone.similarities(templates)
    assert whole.shape == (1, len(templates))
    singly = [float(alone.similarities(templates.take(np.array([k])))[0, 0]) for k in range(15)]
    assert whole[0] == pytest.approx(singly, abs=1e-4)
    assert whole[0] == pytest.approx(templates.similarities(templates)[4], abs=1e-4)


def test_many_references_go_in_blocks(templates):
    many = MinutiaeTemplates(list(templates.items) * 20)
    scores = templates.take(np.array([7])).similarities(many)
    expected = np.tile(templates.similarities(templates)[7], 20)
    assert scores[0] == pytest.approx(expected, abs=1e-4)


def test_views_repeat_rows_and_leave_out_absent_samples(templates):
    view = templates.take(np.array([3, -1, 3, 0]))
    again = view.take(np.array([1, 2, -1]))  # rows of the view
    assert (len(view), len(again)) == (4, 3)
    whole = templates.similarities(templates)
    found = view.similarities(templates)
    assert np.allclose(found[[0, 2, 3]], whole[[3, 3, 0]], atol=1e-4)
    assert not found[1].any()
    expected = [whole[3, 3], 0, whole[3, 3], whole[3, 0]]
    assert again.similarities(view)[1] == pytest.approx(expected, abs=1e-4)
    assert not again.similarities(view)[[0, 2]].any()


def test_each_pair_of_a_set_is_compared_once(templates, compared):
    n = len(templates)
    kept = Compared.of(templates)
    assert sum(compared) == n * n  # one block; of several only those on and above the diagonal
    rows = np.array([5, 5, 2])
    expected = templates.similarities(templates)[np.ix_(rows, np.arange(n))]
    compared.clear()
    assert kept.take(rows).similarities(kept) == pytest.approx(expected, abs=1e-4)
    assert not compared


def test_a_missing_library_is_one_clear_error():
    code = (
        "import sys; sys.modules['nbis'] = None\n"
        "import numpy as np\n"
        "from biometric_core.errors import ModelError\n"
        "from biometric_core.imaging.fingerprint import minutiae\n"
        "blank = np.zeros((1, 64, 64), np.uint8)\n"
        "try:\n    minutiae.encode(blank, blank)\n"
        "except ModelError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nbis-py" in ran.stdout
    assert "training.minutiae=false" in ran.stdout


def test_importing_the_encoder_does_not_load_nbis():
    code = (
        "import sys, biometric_core.imaging.fingerprint.minutiae; sys.exit('nbis' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("archive", [REAL_FINGERS, REAL / "fvc2002-db3b.zip"])
def test_real_fingers(archive):
    if not archive.exists():
        pytest.skip("no real fingers here")
    named = list(real_images(archive, ".tif"))
    labels = np.array([name.rsplit("/", 1)[-1].split("_")[0] for name, _ in named])
    found = encode([gray for _, gray in named])
    scores, mated = pairs(labels, found.similarities(found))
    assert error_rates.eer(scores, mated) < 0.03
    assert cllr(minutiae.DEFAULT_WEIGHT * scores + minutiae.DEFAULT_BIAS, mated) < 0.7


@pytest.mark.slow
@pytest.mark.skipif(not REAL_SUBJECTS.exists(), reason="no real fingers here")
def test_small_real_fingers_of_different_people_stay_below_the_default_s_zero():
    named = list(real_images(REAL_SUBJECTS, "finger.BMP"))[::3]
    found = encode([gray for _, gray in named])
    assert min(len(item) for item in found.items) >= minutia_matching.FEWEST
    scores, _ = pairs(np.arange(len(named)), found.similarities(found))
    assert (minutiae.DEFAULT_WEIGHT * scores + minutiae.DEFAULT_BIAS).max() < 0
