"""Permutation tests whose unit is the subject.

Rows are averaged by subject, and the null distribution comes from relabelling whole subjects:

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
under either relabelling, so it is computed once and all permutations are one matrix product.
"""

from dataclasses import dataclass
from math import lgamma, log, sqrt

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array

from biometric_core.monitoring.windows import Labelled
from biometric_core.schemas import BoolArray, Float64Array, StrArray

# A relabelling that only repeats the observed one must count as equal in spite of rounding.
_TIE = 1 - 1e-9
# The same contrast of two groups of one subject each tells nothing about their spread.
_MIN_UNPAIRED = 2


@dataclass(frozen=True)
class Averaging:
    """How rows become subjects.

    Attributes:
        matrix: float64, (S, N), sparse; rows sum to 1. Rows are averaged by identity, and
            identities by subject.
        weight: float64, (S,); what each subject counts.
    """

    matrix: csr_array
    weight: Float64Array

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def effective(self) -> float:
        """Number of equally weighted subjects that would be as precise (Kish 1965)."""
        return float(self.weight.sum() ** 2 / np.square(self.weight).sum()) if len(self) else 0.0

    @property
    def shares(self) -> Float64Array:
        """What each subject counts in the mean, (S,); sums to 1."""
        return self.weight / self.weight.sum() if len(self) else self.weight


def averaging(rows: Labelled, use: BoolArray) -> Averaging:
    """Average the rows in `use`, bool (N,), by subject; subjects in sorted order."""
    chosen = np.flatnonzero(use)
    identities, identity = np.unique(rows.identity[chosen], return_inverse=True)
    subjects, subject = np.unique(rows.subject[chosen], return_inverse=True)
    weight = rows.weight[chosen]
    of_identity = np.bincount(identity, weights=weight, minlength=len(identities))
    owner = np.zeros(len(identities), dtype=np.int64)
    owner[identity] = subject
    eyes = np.bincount(owner, minlength=len(subjects))
    share = weight / (of_identity[identity] * eyes[subject])
    matrix = csr_array((share, (subject, chosen)), shape=(len(subjects), len(rows)))
    recent = np.zeros(len(subjects))
    np.maximum.at(recent, subject, weight)
    return Averaging(matrix, recent)


@dataclass(frozen=True)
class Design:
    """Which subjects of two windows are compared, and how.

    Attributes:
        pairs_reference: of P subjects seen in both windows, their rows of the reference.
        pairs_current: the same subjects in the same order, their rows of the day.
        unseen: R subjects of the reference only, never trained on.
        new: C subjects of the day only, never trained on.
    """

    pairs_reference: Averaging
    pairs_current: Averaging
    unseen: Averaging
    new: Averaging

    @property
    def subjects(self) -> int:
        """Subjects of the day that can be tested: the pairs, and the new ones if comparable."""
        return len(self.pairs_current) + (len(self.new) if self.weights[1] > 0 else 0)

    @property
    def weights(self) -> tuple[float, float]:
        """Precision of the paired and of the unpaired contrast, in effective subjects."""
        new, unseen = self.new.effective, len(self.unseen)
        usable = new > 0 and unseen > 0 and len(self.new) + unseen > _MIN_UNPAIRED
        unpaired = new * unseen / (new + unseen) if usable else 0.0
        return self.pairs_current.effective / 2, unpaired

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that any day could reach with this many subjects.

        A T2 does not change when all windows are exchanged, hence 2 / relabellings for pairs alone.
        """
        pairs, new, unseen = len(self.pairs_current), len(self.new), len(self.unseen)
        relabellings = pairs * log(2)
        if self.weights[1] > 0:
            relabellings += lgamma(new + unseen + 1) - lgamma(new + 1) - lgamma(unseen + 1)
        return float(min(1.0, 2 * np.exp(-relabellings)))


def design(reference: Labelled, current: Labelled) -> Design:
    """Decide which subjects are paired, which are exchangeable, and which say nothing.

    Dropped: unpaired subjects the model was trained on (in either window), and in a pair the
    identities that only one window has.
    """
    shared = np.intersect1d(reference.identity, current.identity)
    in_reference = np.isin(reference.identity, shared)
    in_current = np.isin(current.identity, shared)
    known = np.isin(reference.subject, current.subject)
    return Design(
        pairs_reference=averaging(reference, in_reference),
        pairs_current=averaging(current, in_current),
        unseen=averaging(reference, ~reference.trained_on & ~known),
        new=averaging(current, _strangers(reference.subject, current)),
    )


def population_design(reference: Labelled, current: Labelled) -> Design:
    """New subjects against everybody in the reference that the model was not trained on."""
    return Design(
        pairs_reference=averaging(reference, np.zeros(len(reference), bool)),
        pairs_current=averaging(current, np.zeros(len(current), bool)),
        unseen=averaging(reference, ~reference.trained_on),
        new=averaging(current, _strangers(reference.subject, current)),
    )


def _strangers(known: StrArray, current: Labelled) -> BoolArray:
    return np.asarray(~current.trained_on & ~np.isin(current.subject, known), dtype=np.bool_)


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
    observed, permuted = statistics[0], statistics[1:]
    bound = observed * _TIE if observed >= 0 else observed / _TIE
    return float(1 + np.sum(permuted >= bound)) / (1 + len(permuted))


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979): family-wise error at most alpha, any dependence."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * np.asarray(p_values)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
