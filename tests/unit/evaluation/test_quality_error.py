from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.evaluation.quality_error import (
    CONSTANT,
    NO_MATED,
    NOT_CARRIED,
    SHARES,
    QualityError,
    by_quality,
    error_discard,
    pair_quality,
    quality_error,
)
from biometric_core.matching.comparisons import Comparisons
from tests.support.report_world import world

pairs = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=40)


@given(pairs, st.integers(-3, 4))
def test_the_edc_is_what_discarding_by_hand_gives(drawn, threshold):
    scores, quality = np.array(drawn, dtype=float).T
    curve = error_discard(scores, quality, threshold)
    for number, worst in enumerate(sorted(set(quality))):
        kept = quality >= worst  # equal qualities are discarded together
        assert curve.discarded[number] == pytest.approx(1 - kept.mean())
        assert curve.fnmr[number] == pytest.approx((scores[kept] < threshold).mean())
    assert len(curve.fnmr) == len(set(quality))
    assert curve.discarded[0] == 0
    assert (curve.discarded < 1).all(), "never is nothing left"


def test_at_takes_the_last_point_within_the_share():
    curve = error_discard([0, 1, 1, 1], [0.1, 0.2, 0.2, 0.9], threshold=0.5)
    assert curve.discarded.tolist() == [0, 0.25, 0.75]
    assert (curve.at(0), curve.at(0.2), curve.at(0.25), curve.at(0.5)) == (0.25, 0.25, 0, 0)


@given(pairs, st.integers(1, 6))
def test_bins_hold_every_comparison_once_and_in_order(drawn, bins):
    scores, quality = np.array(drawn, dtype=float).T
    found = by_quality(scores, quality, 0.0, bins)
    assert sum(one.mated for one in found) == len(scores)
    assert 1 <= len(found) <= bins
    for before, after in pairwise(found):
        assert before.high < after.low, "equal qualities share a bin"
    for one in found:
        inside = (quality >= one.low) & (quality <= one.high)
        assert one.mated == inside.sum()
        assert one.fnmr == pytest.approx((scores[inside] < 0).mean())
        assert one.mean_score == pytest.approx(scores[inside].mean())


def test_five_bins_of_different_qualities_are_equal():
    found = by_quality(np.zeros(100), np.random.default_rng(0).permutation(100), 0.5)
    assert [one.mated for one in found] == [20] * 5
    assert [one.fnmr for one in found] == [1.0] * 5


def test_nothing_and_nan():
    assert error_discard([], [], 0.0) is None
    assert by_quality([], [], 0.0) == []
    for scores, quality in (([np.nan, 1], [0, 1]), ([0, 1], [np.nan, 1]), ([0, np.inf], [0, 1])):
        for function in (error_discard, by_quality):
            with pytest.raises(ValueError, match="finite"):
                function(scores, quality, 0.0)
    with pytest.raises(ValueError, match="must both be"):
        error_discard([0, 1], [0], 0.0)


def comparisons(mated, non_mated):
    count = mated + non_mated
    rng = np.random.default_rng(1)
    index = rng.integers(0, 20, (2, count))
    names = np.array([f"s{i}" for i in range(20)])
    labels = np.arange(count) < mated
    return Comparisons(rng.normal(labels * 2, 1), labels, index[0], index[1], names, names)


def test_the_lower_quality_of_a_pair_counts():
    found, quality = comparisons(5, 5), np.linspace(0, 1, 20)
    assert (pair_quality(found, quality) == quality[np.minimum(found.first, found.second)]).all()


def test_what_cannot_be_said_says_why():
    quality = np.linspace(0, 1, 20)
    assert quality_error(comparisons(30, 99), quality) == NOT_CARRIED
    assert quality_error(comparisons(0, 200), quality) == NO_MATED
    assert quality_error(comparisons(30, 200), np.ones(20)) == CONSTANT


def test_quality_that_predicts_failure_lowers_the_fnmr():
    captures, found = world(20)
    told = quality_error(found, captures.quality)
    assert isinstance(told, QualityError)
    record = told.record()
    assert record["fnmr_discard_0.3"] < record["fnmr_discard_0"]
    assert record["fnmr_discard_0"] == (found.scores[found.mated] < told.threshold).mean()
    assert (found.scores[~found.mated] >= told.threshold).mean() <= 0.01
    assert {f"fnmr_discard_{share:g}" for share in SHARES} < set(record)
    assert told.bins[0].fnmr > told.bins[-1].fnmr
