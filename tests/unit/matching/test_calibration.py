import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from biometric_core.matching.calibration import MIN_WEIGHT, Calibration, cllr, fit_calibration
from biometric_core.matching.comparisons import Comparisons


def comparisons(scores, mated):
    n = len(scores)
    names = np.array([f"s{i}" for i in range(n + 1)])
    pairs = np.arange(n), np.arange(n) + 1
    return Comparisons(np.asarray(scores, float), np.asarray(mated, bool), *pairs, names, names)


def gaussian(rng, n_mated, n_non_mated, mean_mated, mean_non_mated, sigma):
    scores = np.append(
        rng.normal(mean_mated, sigma, n_mated), rng.normal(mean_non_mated, sigma, n_non_mated)
    )
    return scores, np.arange(len(scores)) < n_mated


def test_recovers_the_true_log_likelihood_ratio_whatever_the_mix():
    # Two normal densities of equal variance have an LLR that is linear: slope (m1 - m0) / s^2.
    scores, mated = gaussian(np.random.default_rng(0), 4_000, 60_000, 0.6, 0.1, 0.15)
    found = fit_calibration(comparisons(scores, mated))
    assert found.weight == pytest.approx(0.5 / 0.15**2, rel=0.05)
    assert -found.bias / found.weight == pytest.approx(0.35, abs=0.01)
    assert (found.mated, found.non_mated, found.fitted) == (4_000, 60_000, True)


def test_agrees_with_scikit_learn_on_overlapping_scores():
    scores, mated = gaussian(np.random.default_rng(1), 900, 5_000, 0.4, 0.2, 0.2)
    reference = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10)
    reference.fit(scores[:, None], mated)
    found = fit_calibration(comparisons(scores, mated))
    # the smoothed targets move it a little
    assert found.weight == pytest.approx(reference.coef_[0, 0], rel=0.03)
    assert found.bias == pytest.approx(reference.intercept_[0], rel=0.03)


def test_separated_scores_give_a_finite_weight():
    found = fit_calibration(comparisons([0.9, 0.8, 0.1, 0.0], [1, 1, 0, 0]))
    assert np.isfinite(found.weight)
    assert 0 < found.weight < 100
    assert found.weight * 0.85 + found.bias > 0 > found.weight * 0.05 + found.bias


def test_constant_and_reversed_scores_keep_the_order_and_say_nothing():
    for scores in ([0.5, 0.5, 0.5, 0.5], [0.0, 0.1, 0.8, 0.9]):
        found = fit_calibration(comparisons(scores, [1, 1, 0, 0]))
        assert (found.weight, found.bias) == (MIN_WEIGHT, 0.0)


def test_without_mated_comparisons_it_is_the_identity_and_says_so():
    found = fit_calibration(comparisons([0.1, 0.2], [0, 0]))
    assert (found.weight, found.bias, found.fitted) == (1.0, 0.0, False)


@pytest.mark.parametrize(("weight", "bias"), [(np.nan, 0), (1, np.inf), (0, 0), (-1, 0)])
def test_unusable_values_are_refused(weight, bias):
    with pytest.raises(ValueError, match="not usable"):
        Calibration(weight, bias)


def test_cllr():
    assert cllr(np.zeros(4), np.array([1, 1, 0, 0], bool)) == pytest.approx(1.0)
    assert cllr(np.array([40.0, -40.0]), np.array([1, 0], bool)) == pytest.approx(0.0, abs=1e-12)
    assert cllr(np.array([-5.0, 5.0]), np.array([1, 0], bool)) > 5
    assert cllr(np.array([1.0]), np.array([True])) is None
    rng = np.random.default_rng(2)
    scores, mated = gaussian(rng, 2_000, 8_000, 0.6, 0.1, 0.15)
    found = fit_calibration(comparisons(scores, mated))
    calibrated = cllr(found.weight * scores + found.bias, mated)
    assert calibrated < cllr(3 * (found.weight * scores + found.bias), mated)
    assert calibrated < cllr(found.weight * scores + found.bias + 3, mated)
