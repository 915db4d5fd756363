"""Permutation tests whose unit is the subject.

Rows are averaged by subject (`equal_samples` says which rows), and the null distribution comes from
relabelling whole subjects:

* a subject seen in both windows is compared with itself, and relabelling swaps the two windows;
* a subject seen in one window only takes part when the model was *not* trained on it (residuals of
  training subjects are smaller than anybody else's), and relabelling exchanges such subjects.

Both strata share one statistic, weighted by precision. A subject s of the day counts w_s, the
weight of its most recent row (1 where all rows are of one day). With n_p = (sum w)^2 / (2 sum w^2)
over the pairs, C = (sum w)^2 / sum w^2 over the new ones, R unseen reference subjects and
n_u = C R / (C + R), the contrast is

    D = (n_p mean_w(current - reference) + n_u (mean_w(new) - mean(unseen))) / (n_p + n_u)

and Hotelling's T2 = (n_p + n_u) D' S^-1 D, where S is the Ledoit-Wolf covariance (2004) of the pair
differences / sqrt(2) and of the unpaired subjects about their *pooled* mean. S does not change
under either relabelling, so it is computed once and all permutations are matrix products.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.linalg import solve_triangular

from biometric_core.monitoring.designs import Design
from biometric_core.schemas import Float64Array

# A relabelling that only repeats the observed one must count as equal in spite of rounding.
_TIE = 1 - 1e-9


@dataclass(frozen=True)
class Relabelling:
    """The observed labels (row 0) and B random ones that are as likely when nothing drifted.

    Attributes:
        signs: float64, (1 + B, P); what a pair counts, negative where its windows are swapped.
        contrast: float64, (1 + B, C + R); what an unpaired subject counts: each new one its share,
            each unseen one -1 / R.
    """

    signs: Float64Array
    contrast: Float64Array

    @classmethod
    def draw(cls, plan: Design, permutations: int, rng: np.random.Generator) -> "Relabelling":
        """Draw B = `permutations` relabellings that respect both strata of `plan`."""
        unseen = len(plan.unseen)
        signs = rng.choice((-1.0, 1.0), size=(1 + permutations, len(plan.pairs_current)))
        signs[0] = 1.0
        labels = np.r_[plan.new.shares, np.full(unseen, -1 / max(unseen, 1))]
        contrast = np.tile(labels, (1 + permutations, 1))
        contrast[1:] = rng.permuted(contrast[1:], axis=1)
        return cls(signs * plan.pairs_current.shares, contrast)


def contrasts(
    plan: Design, draws: Relabelling, reference: Float64Array, current: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """D for every relabelling, and the centred rows that estimate S.

    Args:
        plan: of the two windows.
        draws: 1 + B relabellings.
        reference: float64, (N_reference, K).
        current: float64, (N_current, K).

    Returns:
        float64 (1 + B, K) and float64 (P + C + R, K); the unpaired rows only where they count.
    """
    pairs = plan.pairs_current.matrix @ current - plan.pairs_reference.matrix @ reference
    n_pairs, n_unpaired = plan.weights
    total = n_pairs + n_unpaired
    result = (n_pairs / total) * (draws.signs @ pairs)
    rows = [pairs / sqrt(2)]
    if n_unpaired > 0:
        pooled = np.concatenate([plan.new.matrix @ current, plan.unseen.matrix @ reference])
        centred = pooled - pooled.mean(axis=0)
        result += (n_unpaired / total) * (draws.contrast @ centred)
        rows.append(centred * sqrt(len(pooled) / (len(pooled) - 1)))
    return result, np.concatenate(rows)


def t_squared(
    plan: Design, draws: Relabelling, reference: Float64Array, current: Float64Array
) -> Float64Array:
    """Hotelling's T2 of the observed labels and of each relabelling, (1 + B,); see `contrasts`."""
    contrast, rows = contrasts(plan, draws, reference, current)
    whitened = solve_triangular(_root(rows), contrast.T, lower=True)
    squared: Float64Array = np.square(whitened).sum(axis=0)
    return sum(plan.weights) * squared


def _root(rows: Float64Array) -> Float64Array:
    """Lower triangular L with L L' = S, (K, K), S the Ledoit-Wolf covariance of rows (S, K)."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(rows, assume_centered=True)
    # Directions without any spread carry no information; a floor keeps them from exploding.
    floor = max(float(np.trace(covariance)) * 1e-9, np.finfo(np.float64).tiny)
    return np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))


def permutation_p(statistics: Float64Array) -> float:
    """The p-value (1 + k) / (1 + B), k of B permuted values being at least the observed [0]."""
    return _share_from(statistics, statistics[0])


def smallest_p(statistics: Float64Array) -> float:
    """The smallest p-value that any relabelling of the same values could have.

    It is large where values are few and tie: of a rate, where hardly anything fails.
    """
    return _share_from(statistics, statistics.max())


def _share_from(statistics: Float64Array, value: float) -> float:
    """(1 + k) / (1 + B), k of the B permuted values [1:] being at least this one."""
    permuted = statistics[1:]
    bound = value * _TIE if value >= 0 else value / _TIE
    return float(1 + np.sum(permuted >= bound)) / (1 + len(permuted))


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979): family-wise error at most alpha, any dependence."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * np.asarray(p_values)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
