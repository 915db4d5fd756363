"""Cosine to log-likelihood ratio: LLR = weight * cosine + bias.

Logistic regression of mated against non-mated comparisons with both kinds given the same total
weight, so that the log-odds are the log-likelihood ratio and 0 is the threshold at equal priors
(Brümmer and du Preez 2006). Targets are smoothed as in Platt scaling (1999): a set that is
perfectly separated gives a finite weight, larger the more comparisons there are.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from biometric_core.matching import error_rates
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import BoolArray, Float64Array

MIN_WEIGHT = 1e-3
"""A weight below this (scores in the wrong order, or none) is raised to it: order is kept."""
_STEPS = 100
_TOLERANCE = 1e-10
_PULL = 0.01  # against a mean loss of at most log 2


@dataclass(frozen=True)
class Calibration:
    """LLR (natural logarithm) = weight * cosine + bias.

    Attributes:
        weight: above zero.
        bias: see above.
        mated: mated comparisons it was fitted on; 0 where it could not be fitted.
        non_mated: likewise.
    """

    weight: float = 1.0
    bias: float = 0.0
    mated: int = 0
    non_mated: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and math.isfinite(self.bias) and self.weight > 0):
            raise ValueError(f"calibration {self.weight}, {self.bias}: not usable")

    @property
    def fitted(self) -> bool:
        """False where there was nothing to fit on: scores are cosines, not LLRs."""
        return self.mated > 0


def fit_calibration(comparisons: Comparisons) -> Calibration:
    """Fit on raw cosine scores; the identity (weight 1, bias 0) where a kind of pair is missing."""
    if error_rates.one_kind(comparisons.mated):
        return Calibration()
    weight, bias = _logistic(comparisons.scores, comparisons.mated)
    if weight < MIN_WEIGHT:
        weight, bias = MIN_WEIGHT, 0.0
    return Calibration(weight, bias, comparisons.n_mated, comparisons.n_non_mated)


def fit_together(
    ratios: Float64Array, mated: BoolArray, prior: Float64Array
) -> tuple[Float64Array, float]:
    """Weights and bias of a sum of log-likelihood ratios that are not independent.

    Two encoders read the same capture: added as they are, what both see counts twice. Linear
    logistic fusion (Brümmer et al. 2007), drawn towards `prior` because validation people are few.

    Args:
        ratios: (K, P), of K encoders.
        mated: (P,), both kinds.
        prior: (K,).

    Returns:
        (K,), each above zero, and the bias: ratio = weights @ ratios + bias.
    """
    targets = mated.astype(np.float64)
    balance = np.where(mated, 0.5 / mated.sum(), 0.5 / (~mated).sum())

    def cost(solution: Float64Array) -> float:
        odds = solution[:-1] @ ratios + solution[-1]
        loss = np.sum(balance * (np.logaddexp(0, odds) - targets * odds))
        return float(loss + _PULL * np.sum((solution[:-1] - prior) ** 2))

    bounds = [*((MIN_WEIGHT, None) for _ in prior), (None, None)]
    found = minimize(cost, np.append(prior, 0.0), method="L-BFGS-B", bounds=bounds).x
    return np.asarray(found[:-1]), float(found[-1])


def _logistic(scores: Float64Array, mated: BoolArray) -> tuple[float, float]:
    """Newton's method on standardised scores; the loss is convex, steps are halved if needed."""
    n_mated, n_non_mated = int(mated.sum()), int((~mated).sum())
    targets = np.where(mated, (n_mated + 1) / (n_mated + 2), 1 / (n_non_mated + 2))
    weights = np.where(mated, 0.5 / n_mated, 0.5 / n_non_mated)
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    design = np.stack([(scores - centre) / spread, np.ones(len(scores))], axis=1)
    solution = np.zeros(2)
    loss = _loss(design @ solution, targets, weights)
    for _ in range(_STEPS):
        odds = design @ solution
        probability = 0.5 * (1 + np.tanh(odds / 2))
        gradient = design.T @ (weights * (probability - targets))
        curvature = (design * (weights * probability * (1 - probability))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        while (new := _loss(design @ (solution - step), targets, weights)) > loss + _TOLERANCE:
            step /= 2
        solution, gain, loss = solution - step, loss - new, new
        if gain < _TOLERANCE:
            break
    weight = float(solution[0]) / spread
    return weight, float(solution[1]) - weight * centre


def _loss(odds: Float64Array, targets: Float64Array, weights: Float64Array) -> float:
    return float(np.sum(weights * (np.logaddexp(0, odds) - targets * odds)))


def cllr(scores: Float64Array, mated: BoolArray) -> float | None:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 is a score that says nothing.

    The mean of the mean cost of mated and of non-mated comparisons (`cllr_costs`).
    """
    values, labels = error_rates.checked(scores, mated)
    if error_rates.one_kind(labels):
        return None
    costs = cllr_costs(values, labels)
    return float((costs[labels].mean() + costs[~labels].mean()) / 2)


def cllr_costs(scores: Float64Array, mated: BoolArray) -> Float64Array:
    """What each comparison costs in bits, float64 (P,): a ratio that misleads costs the more.

    Formula of Brümmer and du Preez (2006); scores are natural-log LLRs.
    """
    return np.asarray(np.logaddexp(0, np.where(mated, -scores, scores)) / math.log(2))
