from dataclasses import replace

import numpy as np
import pytest

from biometric_core.data.without_store import merged
from biometric_core.errors import DataError
from biometric_core.evaluation.chimeric import (
    chimeric_galleries,
    draws,
    mated_sources,
    of_sources,
    pair,
    paired,
)
from biometric_core.evaluation.combinations import pooled
from biometric_core.evaluation.figures import Encodings
from biometric_core.matching import error_rates
from biometric_core.schemas import Modality
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from tests.support.toys import toy_config, toy_set, toy_sets

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


@pytest.fixture(scope="module")
def recogniser():
    config = toy_config(epochs=6)
    validation = toy_sets(6, first=20)
    return recogniser_of(fit(toy_sets(8), validation, config), validation, config)


@pytest.fixture(scope="module")
def sets():
    """Ten people's irises, each with a finger captured once; and two sources of four fingers."""
    once = toy_set(FINGER, 10, first=40, impressions=1)
    irises = {IRIS: toy_set(IRIS, 10, first=40, positions=2), FINGER: once}
    fingers = [{FINGER: toy_set(FINGER, 4, first=first)} for first in (60, 70)]
    return merged([irises, *fingers])


@pytest.fixture(scope="module")
def mated(sets):
    return mated_sources(sets)


@pytest.fixture(scope="module")
def encodings(recogniser, sets, mated):
    return Encodings.of(recogniser, of_sources(sets, mated))


def test_only_sources_with_mated_pairs_are_paired(sets, mated):
    assert mated == {IRIS: {"0"}, FINGER: {"1", "2"}}
    chosen = of_sources(sets, mated)
    assert {name.split(":")[0] for name in chosen[FINGER].subject_id.tolist()} == {"1", "2"}
    with pytest.raises(DataError, match="at least two sources"):
        mated_sources(merged([{IRIS: toy_set(IRIS, 3)}]))
    with pytest.raises(DataError, match="--chimeric"):
        mated_sources(merged([toy_sets(3)]))  # both, but of one source


def test_pairs_are_of_different_sources_and_nobody_is_in_two():
    both = merged([toy_sets(5), toy_sets(7, first=20)])
    seen = set()
    for seed in range(20):
        names = pair(both, np.random.default_rng(seed))
        eyes, fingers = ({new: old for old, new in names[m].items()} for m in (IRIS, FINGER))
        assert len(eyes) == len(names[IRIS])
        assert set(eyes) == set(fingers)
        assert all(eyes[new][0] != fingers[new][0] for new in eyes)
        seen.add(tuple(sorted(fingers.items())))
    assert len(seen) > 10


def test_training_keeps_every_capture_and_pairs_whom_it_can(sets, mated):
    found = paired(sets, mated, np.random.default_rng(1))
    for modality, captures in found.items():
        assert (captures.capture_id == sets[modality].capture_id).all()
        assert len(set(captures.identity)) == len(set(sets[modality].identity))
    both = set(found[IRIS].subject_id) & set(found[FINGER].subject_id)
    assert len([name for name in both if name.endswith("+")]) == 8


def test_a_draw_is_the_sum_over_the_captures_of_both_people(recogniser, encodings):
    names = pair(encodings.sets, np.random.default_rng(3))
    gallery = chimeric_galleries(recogniser, encodings, names)["fused"]
    assert len(gallery) == 8 * 3
    scores = gallery.scores(0, len(gallery))
    old = {m: {new: name for name, new in one.items()} for m, one in names.items()}

    def row(modality, item, position):
        chimera, _, impression = item.split("#")
        captures = encodings.sets[modality]
        here = captures.subject_id == old[modality][chimera]
        here &= (captures.impression == int(impression)) & (captures.position == position)
        return np.flatnonzero(here)

    encoded = {
        m: recogniser.weighed(m, recogniser.templates(captures))
        for m, captures in encodings.sets.items()
    }
    places = [(IRIS, "left"), (IRIS, "right"), (FINGER, "left_thumb")]
    for i, j in np.random.default_rng(0).integers(0, len(gallery), (60, 2)):
        expected = 0.0
        for modality, position in places:
            rows = [row(modality, gallery.items[k], position) for k in (i, j)]
            for one in encoded[modality]:
                alike = one.templates.take(rows[0]).similarities(one.templates.take(rows[1]))
                expected += one.weight * alike[0, 0] + one.bias
        assert scores[i, j] == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_no_capture_is_on_both_sides_of_a_comparison(recogniser, encodings):
    for one in draws(recogniser, encodings, 3, seed=1)["fused"]:
        found = one.comparisons
        assert found.n_mated == 8 * 3
        sides = [
            [item.split("#") for item in found.items[side][found.mated]]
            for side in (found.first, found.second)
        ]
        for (subject, _, first), (other, _, second) in zip(*sides, strict=True):
            assert subject == other
            assert first != second


def test_draws_differ_and_fusion_helps(recogniser, encodings):
    rounds = draws(recogniser, encodings, 4, seed=1)
    alone = {"one_iris", "both_irises", "one_finger"}  # pairing makes no difference to them
    assert {name: len(several) for name, several in rounds.items()} == {
        name: 1 if name in alone else 4 for name in rounds
    }
    assert rounds["both_irises"][0].comparisons.n_mated == 10 * 3
    totals = [one.comparisons.scores.sum() for one in rounds["fused"]]
    assert len(set(totals)) == 4
    again = draws(recogniser, encodings, 4, seed=1)
    assert (
        pooled(again["fused"]).comparisons.scores == pooled(rounds["fused"]).comparisons.scores
    ).all()
    eers = {
        name: error_rates.eer(found.scores, found.mated)
        for name, several in rounds.items()
        for found in [pooled(several).comparisons]
    }
    assert eers["both_irises+one_finger"] <= eers["one_finger"] < 0.4


def test_permuted_identities_give_an_eer_of_one_half(recogniser, sets, mated):
    rng = np.random.default_rng(7)
    permuted = {}
    for modality, captures in of_sources(sets, mated).items():
        order = rng.permutation(len(captures))
        columns = ("subject_id", "position", "impression")
        permuted[modality] = replace(captures, **{c: getattr(captures, c)[order] for c in columns})
    rounds = draws(recogniser, Encodings.of(recogniser, permuted), 20, seed=2)
    for name in ("fused", "fused_feature", "both_irises+one_finger", "missing_third"):
        found = pooled(rounds[name]).comparisons
        assert error_rates.eer(found.scores, found.mated) == pytest.approx(0.5, abs=0.12), name
