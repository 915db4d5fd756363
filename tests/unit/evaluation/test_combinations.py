import itertools

import numpy as np
import pytest

from biometric_core.evaluation.combinations import (
    MISSING_THIRD,
    Round,
    combinations,
    gap_rounds,
    pooled,
    subsets,
    with_gaps,
)
from biometric_core.imaging.iris import phase_code
from biometric_core.matching.gallery import Encoded, fused_gallery, modality_gallery
from biometric_core.matching.templates import Compared, Embeddings
from biometric_core.schemas import Modality
from tests.support.toys import toy_set

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


def unit(count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, 6))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def sets():
    irises = toy_set(IRIS, 4, positions=2)
    fingers = toy_set(FINGER, 4)
    kept = ~((fingers.subject_id == "s001") & (fingers.impression == 2))
    return {IRIS: irises, FINGER: fingers.select(kept)}


@pytest.fixture(scope="module")
def encoders(sets):
    irises = sets[IRIS]
    return {
        IRIS: [
            Encoded(Embeddings(unit(len(irises), 1)), 2.0, 0.5).compared(),
            Encoded(phase_code.encode(irises.images, irises.masks), 3.0, -0.2).compared(),
        ],
        FINGER: [Encoded(Embeddings(unit(len(sets[FINGER]), 2)), 1.5, 0.1).compared()],
    }


@pytest.fixture(scope="module")
def fused(sets, encoders):
    return fused_gallery(sets, encoders)


def llr(sets, encoders, modality, position, one, other):
    """Brute force: the sum over a position's encoders, None where a visit lacks it."""
    captures = sets[modality]
    rows = []
    for item in (one, other):
        subject, _, impression = item.split("#")
        here = (captures.subject_id == subject) & (captures.impression == int(impression))
        rows.append(np.flatnonzero(here & (captures.position == position)))
    if not all(len(found) for found in rows):
        return None
    return sum(
        e.weight * e.templates.take(rows[0]).similarities(e.templates.take(rows[1]))[0, 0] + e.bias
        for e in encoders[modality]
    )


def test_comparisons_made_once_are_those_made_anew(sets):
    codes = phase_code.encode(sets[IRIS].images, sets[IRIS].masks)
    rows, others = np.array([3, 3, 0]), np.array([5, 1, 2, 0])
    kept = Compared.of(codes)
    found = kept.take(rows).similarities(kept.take(others))
    assert found == pytest.approx(codes.take(rows).similarities(codes.take(others)), abs=1e-6)
    assert kept.take(rows).take(np.array([2])).rows.tolist() == [0]
    assert kept.encoder == "phase_code"


def test_every_encoder_has_its_own_figure(sets, encoders, fused):
    galleries = {m.value: modality_gallery(sets[m], encoders[m]) for m in sets}
    found = combinations({**galleries, "fused": fused}, seed=1, repeats=2)
    assert set(found) == {
        "iris_embedding",
        "iris_phase_code",
        "fingerprint_embedding",
        "one_iris",
        "both_irises",
        "one_finger",
        "one_iris+one_finger",
        "both_irises+one_finger",
        MISSING_THIRD,
    }
    alone = found["iris_phase_code"].comparisons
    codes = encoders[IRIS][1].templates.similarities(encoders[IRIS][1].templates)
    assert alone.scores == pytest.approx(3.0 * codes[alone.first, alone.second] - 0.2, abs=1e-5)


def test_subsets_hold_the_visits_that_have_all_of_them(sets, encoders, fused):
    parts = subsets(fused)
    assert {name: len(one) for name, one in parts.items()} == {
        "one_iris": 2,
        "both_irises": 1,
        "one_finger": 1,
        "one_iris+one_finger": 2,
        "both_irises+one_finger": 1,
    }
    assert len(parts["both_irises"][0]) == 12
    both = parts["one_iris+one_finger"]
    for gallery, eye in zip(both, ("left", "right"), strict=True):
        assert not [
            name for name in gallery.items if name.startswith("s001#") and name.endswith("#2")
        ]
        assert len(gallery) == 11
        found = Round.of(gallery).comparisons
        for i, j, score in zip(found.first, found.second, found.scores, strict=True):
            pair = gallery.items[i], gallery.items[j]
            expected = llr(sets, encoders, IRIS, eye, *pair)
            expected += llr(sets, encoders, FINGER, "left_thumb", *pair)
            assert score == pytest.approx(expected, abs=1e-4)


def test_rounds_are_pooled_with_their_items(fused):
    left, right = (Round.of(part) for part in subsets(fused)["one_iris"])
    whole = pooled([left, right])
    assert len(whole.comparisons) == len(left.comparisons) + len(right.comparisons)
    assert whole.probes == 24
    tail = slice(len(left.comparisons), None)
    items, parts = whole.comparisons, right.comparisons
    assert (items.items[items.first[tail]] == parts.items[parts.first]).all()
    assert (items.scores[tail] == parts.scores).all()


def test_gaps_are_of_the_probe_alone(sets, encoders, fused):
    gallery = with_gaps(fused, np.random.default_rng(5))
    kept = {(c.modality, c.position): c.presented for c in gallery.channels}
    assert len(kept) == 3
    assert all(0 < one.sum() < len(one) for one in kept.values())
    scores = gallery.scores(0, len(gallery))
    for i, j in itertools.product(range(len(gallery)), repeat=2):
        pair = gallery.items[i], gallery.items[j]
        parts = [llr(sets, encoders, *place, *pair) for place, one in kept.items() if one[i]]
        known = [part for part in parts if part is not None]
        if known:
            assert scores[i, j] == pytest.approx(sum(known), abs=1e-4)
        else:
            assert np.isnan(scores[i, j])


def test_probes_that_lost_everything_are_counted_apart(fused):
    found = gap_rounds(fused, np.random.default_rng(2), repeats=200)
    assert found.probes == 200 * 12
    assert found.lost / found.probes == pytest.approx((11 / 27 + 1 / 9) / 12, abs=0.01)
    whole = len(fused) * (len(fused) - 1) / 2 * 200
    assert 0.9 < len(found.comparisons) / whole < 1 - found.lost / found.probes + 0.01
