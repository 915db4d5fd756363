import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq
from sklearn import metrics as reference

from biometric_core.matching import error_rates

# Few distinct values: most examples hold ties, many are negative.
tied_scores = hnp.arrays(
    np.float64,
    st.integers(2, 60),
    elements=st.sampled_from([-3.0, -1.5, -0.5, 0.0, 0.25, 2.0, 7.0]),
)
continuous = hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(-1e3, 1e3))


@st.composite
def labelled(draw):
    scores = draw(st.one_of(tied_scores, continuous))
    mated = draw(hnp.arrays(np.bool_, len(scores)))
    mated[0], mated[-1] = True, False
    return scores, mated


def brute_rates(scores, mated, threshold):
    accepted = [s >= threshold for s in scores]
    false_matches = sum(a and not m for a, m in zip(accepted, mated, strict=True))
    false_non_matches = sum(m and not a for a, m in zip(accepted, mated, strict=True))
    return false_matches / sum(~mated), false_non_matches / sum(mated)


@given(labelled())
def test_det_curve_is_the_brute_force_count_at_every_threshold(pairs):
    scores, mated = pairs
    curve = error_rates.det_curve(scores, mated)
    assert len(curve.fmr) == len(set(scores)) + 1
    for fmr, fnmr, threshold in zip(curve.fmr, curve.fnmr, curve.thresholds, strict=True):
        assert (fmr, fnmr) == pytest.approx(brute_rates(scores, mated, threshold))


@given(labelled())
def test_det_curve_agrees_with_scikit_learn(pairs):
    scores, mated = pairs
    fpr, tpr, _ = reference.roc_curve(mated, scores, drop_intermediate=False)
    curve = error_rates.det_curve(scores, mated)
    np.testing.assert_allclose(curve.fmr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.fnmr, 1 - tpr, atol=1e-12)


@given(labelled())
def test_eer_is_where_the_interpolated_roc_meets_the_diagonal(pairs):
    scores, mated = pairs
    fpr, tpr, _ = reference.roc_curve(mated, scores, drop_intermediate=False)
    # along the curve by arc position, so that vertical pieces are no problem
    steps = np.arange(len(fpr))
    position = brentq(
        lambda x: np.interp(x, steps, fpr) - 1 + np.interp(x, steps, tpr), 0, steps[-1]
    )
    assert error_rates.eer(scores, mated) == pytest.approx(
        np.interp(position, steps, fpr), abs=1e-9
    )


@given(labelled())
def test_eer_lies_between_the_best_and_worst_bound_of_its_operating_points(pairs):
    scores, mated = pairs
    points = [brute_rates(scores, mated, t) for t in [np.inf, *set(scores)]]
    value = error_rates.eer(scores, mated)
    assert 0 <= value <= 1
    assert value <= min(max(point) for point in points) + 1e-12
    assert value >= max(min(point) for point in points) - 1e-12


@given(labelled())
def test_figures_depend_on_the_order_of_scores_only(pairs):
    _, mated = pairs
    scores = np.argsort(np.argsort(pairs[0])) // 2  # ties again
    for figure in (error_rates.eer, error_rates.auc):
        assert figure(scores, mated) == pytest.approx(figure(np.exp(scores / 10) - 50, mated))


def test_eer_known_values():
    assert error_rates.eer([2, 1, 0, -1], [True, True, False, False]) == 0.0
    assert error_rates.eer([-1, 0, 1, 2], [True, True, False, False]) == 1.0
    assert error_rates.eer([5, 5, 5, 5], [True, True, False, False]) == 0.5
    # 1 of 4 mated below 1 of 4 non-mated
    assert error_rates.eer([9, 8, 7, 1, 2, 0, 0, 0], [True] * 4 + [False] * 4) == 0.25


@given(labelled())
def test_auc_agrees_with_scikit_learn(pairs):
    scores, mated = pairs
    assert error_rates.auc(scores, mated) == pytest.approx(reference.roc_auc_score(mated, scores))


@given(labelled(), st.sampled_from([0.5, 0.25, 0.1, 1.0]))
def test_fnmr_at_fmr_is_the_best_threshold_allowed(pairs, fmr):
    scores, mated = pairs
    value = error_rates.fnmr_at_fmr(scores, mated, fmr)
    if (~mated).sum() * fmr < 1:
        assert value is None
        return
    points = [brute_rates(scores, mated, t) for t in [np.inf, *set(scores)]]
    assert value == pytest.approx(min(miss for false, miss in points if false <= fmr + 1e-12))


def test_an_fmr_that_the_comparisons_cannot_carry_is_refused():
    scores = np.arange(1000.0)
    mated = np.arange(1000) >= 500
    assert error_rates.fnmr_at_fmr(scores, mated, 0.01) == 0.0
    assert error_rates.fnmr_at_fmr(scores, mated, 0.001) is None
    assert error_rates.threshold_at_fmr(scores[:500], 0.001) is None


@given(hnp.arrays(np.float64, st.integers(10, 80), elements=st.integers(-5, 5).map(float)))
def test_threshold_keeps_the_fmr_and_is_the_lowest_that_does(scores):
    threshold = error_rates.threshold_at_fmr(scores, 0.1)
    assert (scores >= threshold).mean() <= 0.1
    below = scores[scores < threshold]
    assert not len(below) or (scores >= below.max()).mean() > 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("figure", [error_rates.eer, error_rates.auc, error_rates.det_curve])
def test_scores_that_are_not_finite_are_refused(figure, bad):
    with pytest.raises(ValueError, match="finite"):
        figure([0.1, bad, 0.3], [True, False, False])


@pytest.mark.parametrize("label", [True, False])
def test_one_kind_of_comparison_gives_none(label):
    assert error_rates.eer([1.0, 2.0], [label, label]) is None
    assert error_rates.auc([1.0, 2.0], [label, label]) is None
    assert error_rates.det_curve([1.0, 2.0], [label, label]) is None
    assert error_rates.fnmr_at_fmr([1.0, 2.0], [label, label], 0.5) is None
    assert error_rates.eer([], []) is None


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must both be"):
        error_rates.eer([1.0, 2.0], [True])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_ranks_agree_with_sorting(probes, gallery, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(probes * gallery).reshape(probes, gallery).astype(float)
    own = rng.integers(0, gallery, probes)
    mated = np.arange(gallery)[None, :] == own[:, None]
    order = np.argsort(-scores, axis=1)
    expected = [list(row).index(column) + 1 for row, column in zip(order, own, strict=True)]
    ranks = error_rates.ranks(scores, mated)
    assert ranks.tolist() == expected
    assert error_rates.rank1(ranks) == np.mean(np.array(expected) == 1)
    assert error_rates.cmc(ranks, gallery)[-1] == 1.0
    assert error_rates.cmc(ranks, 1)[0] == error_rates.rank1(ranks)


def test_a_tie_for_the_first_rank_counts_against_the_probe():
    mated = np.array([[True, False, False]])
    assert error_rates.ranks(np.array([[1.0, 1.0, 0.0]]), mated).tolist() == [2]
    assert error_rates.ranks(np.zeros((1, 3)), mated).tolist() == [3]


def test_ranks_refuse_nan_and_strangers():
    with pytest.raises(ValueError, match="NaN"):
        error_rates.ranks(np.array([[np.nan, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ValueError, match="mated reference"):
        error_rates.ranks(np.array([[0.0, 1.0]]), np.array([[False, False]]))
