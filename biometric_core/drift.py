"""Drift of embeddings between a reference window and a day: tests that stay silent on other people.

Embeddings are clustered by identity, so a day with other people in the door differs from the
reference with no sensor drift at all. What is compared here is therefore the *residual* of a probe
from the template of its claimed identity, averaged by subject, and the null distribution comes from
relabelling whole subjects:

* a subject seen in both windows is compared with itself, and relabelling swaps the two windows;
* a subject seen in one window only takes part when the model was *not* trained on it (residuals of
  training subjects are smaller than anybody else's), and relabelling exchanges such subjects.

Both strata share one statistic, weighted by precision. With P pairs, C new and R unseen reference
subjects, n_p = P / 2 and n_u = C R / (C + R), the contrast is

    D = (n_p mean(current - reference) + n_u (mean(new) - mean(unseen))) / (n_p + n_u)

and Hotelling's T2 = (n_p + n_u) D' S^-1 D, where S is the Ledoit-Wolf covariance (2004) of the pair
differences / sqrt(2) and of the unpaired subjects about their *pooled* mean. S does not change
under either relabelling, so it is computed once and all permutations are one matrix product.
"""

from dataclasses import dataclass, replace
from math import lgamma, log, sqrt

import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float64Array

StringArray = npt.NDArray[np.str_]
BoolArray = npt.NDArray[np.bool_]

RESIDUAL_T2 = "residual_t2"
GENUINE_SHIFT = "genuine_shift"
QUALITY_SHIFT = "quality_shift"
POPULATION_T2 = "population_t2"
# A relabelling that only repeats the observed one must count as equal in spite of rounding.
_TIE = 1 - 1e-9
# The same contrast of two groups of one subject each tells nothing about their spread.
_MIN_UNPAIRED = 2


@dataclass(frozen=True)
class Window:
    """Probes of one modality and sensor, compared with their claimed identity.

    Attributes:
        subject: str, (N,); the claimed subject.
        identity: str, (N,); the claimed eye or finger of that subject.
        trained_on: bool, (N,); the model was trained on other captures of this subject.
        residual: float, (N, D); probe embedding minus the identity's template.
        template: float, (N, D); the identity's template.
        genuine: float, (N,); score of the comparison with the claimed identity.
        quality: float, (N,), in [0, 1].
    """

    subject: StringArray
    identity: StringArray
    trained_on: BoolArray
    residual: Float64Array
    template: Float64Array
    genuine: Float64Array
    quality: Float64Array

    def __post_init__(self) -> None:
        for name in ("identity", "trained_on", "residual", "template", "genuine", "quality"):
            if len(getattr(self, name)) != len(self.subject):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, not {len(self)}")
        for name in ("residual", "template", "genuine", "quality"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds values that are not finite")

    def __len__(self) -> int:
        return len(self.subject)


@dataclass(frozen=True)
class Statistic:
    """One tested statistic: its value, the p-value before correction, and subjects of the day."""

    name: str
    value: float
    p_value: float
    subjects: int


@dataclass(frozen=True)
class Design:
    """How the probes of two windows become subjects; every matrix averages probes by subject.

    Attributes:
        pairs_reference: float64, (P, N_reference); rows sum to 1.
        pairs_current: float64, (P, N_current), the same subjects in the same order.
        unseen: float64, (R, N_reference); subjects of the reference only, never trained on.
        new: float64, (C, N_current); subjects of the day only, never trained on.
    """

    pairs_reference: Float64Array
    pairs_current: Float64Array
    unseen: Float64Array
    new: Float64Array

    @property
    def subjects(self) -> int:
        """Subjects of the day that can be tested: the pairs, and the new ones if comparable."""
        return len(self.pairs_current) + (len(self.new) if self.weights[1] > 0 else 0)

    @property
    def weights(self) -> tuple[float, float]:
        """Precision of the paired and of the unpaired contrast, in effective subjects."""
        new, unseen = len(self.new), len(self.unseen)
        usable = new > 0 and unseen > 0 and new + unseen > _MIN_UNPAIRED
        return len(self.pairs_current) / 2, new * unseen / (new + unseen) if usable else 0.0

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


def _averaging(window: Window, subjects: StringArray, use: BoolArray) -> Float64Array:
    """Weights (S, N) that average probes by identity, and identities by subject."""
    weights = np.zeros((len(subjects), len(window)))
    for row, subject in enumerate(subjects):
        chosen = np.flatnonzero(use & (window.subject == subject))
        _, where, counts = np.unique(
            window.identity[chosen], return_inverse=True, return_counts=True
        )
        weights[row, chosen] = 1 / (counts[where] * len(counts))
    return weights


def design(reference: Window, current: Window) -> Design:
    """Decide which subjects are paired, which are exchangeable, and which say nothing.

    Dropped: unpaired subjects the model was trained on (in either window), and in a pair the
    identities that only one window has.
    """
    shared = np.intersect1d(reference.identity, current.identity)
    in_reference = np.isin(reference.identity, shared)
    in_current = np.isin(current.identity, shared)
    paired = np.unique(current.subject[in_current])
    known = np.isin(reference.subject, current.subject)
    unpaired = _unpaired(reference, current, ~reference.trained_on & ~known)
    return replace(
        unpaired,
        pairs_reference=_averaging(reference, paired, in_reference),
        pairs_current=_averaging(current, paired, in_current),
    )


def population_design(reference: Window, current: Window) -> Design:
    """New subjects against everybody in the reference that the model was not trained on."""
    return _unpaired(reference, current, ~reference.trained_on)


def _unpaired(reference: Window, current: Window, unseen: BoolArray) -> Design:
    new = ~current.trained_on & ~np.isin(current.subject, reference.subject)
    return Design(
        pairs_reference=np.zeros((0, len(reference))),
        pairs_current=np.zeros((0, len(current))),
        unseen=_averaging(reference, np.unique(reference.subject[unseen]), unseen),
        new=_averaging(current, np.unique(current.subject[new]), new),
    )


@dataclass(frozen=True)
class Relabelling:
    """The observed labels (row 0) and B random ones that are as likely when nothing drifted.

    Attributes:
        signs: float64, (1 + B, P); -1 where a pair's windows are swapped.
        contrast: float64, (1 + B, C + R); 1 / C for a subject labelled new, -1 / R otherwise.
    """

    signs: Float64Array
    contrast: Float64Array

    @classmethod
    def draw(cls, plan: Design, permutations: int, rng: np.random.Generator) -> "Relabelling":
        """Draw B = `permutations` relabellings that respect both strata of `plan`."""
        new, unseen = len(plan.new), len(plan.unseen)
        signs = rng.choice((-1.0, 1.0), size=(1 + permutations, len(plan.pairs_current)))
        signs[0] = 1.0
        labels = np.r_[np.full(new, 1 / max(new, 1)), np.full(unseen, -1 / max(unseen, 1))]
        contrast = np.tile(labels, (1 + permutations, 1))
        contrast[1:] = rng.permuted(contrast[1:], axis=1)
        return cls(signs, contrast)


def _contrasts(
    plan: Design, draws: Relabelling, reference: Float64Array, current: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """D for every relabelling, (1 + B, K), and the centred rows that estimate S, (S, K)."""
    differences = plan.pairs_current @ current - plan.pairs_reference @ reference
    n_pairs, n_unpaired = plan.weights
    total = n_pairs + n_unpaired
    result = (n_pairs / total) * (draws.signs @ differences) / max(len(differences), 1)
    rows = [differences / sqrt(2)]
    if n_unpaired > 0:
        pooled = np.concatenate([plan.new @ current, plan.unseen @ reference])
        centred = pooled - pooled.mean(axis=0)
        result += (n_unpaired / total) * (draws.contrast @ centred)
        rows.append(centred * sqrt(len(pooled) / (len(pooled) - 1)))
    return result, np.concatenate(rows)


def _whitening(rows: Float64Array) -> Float64Array:
    """L with L L' = S^-1, (K, K), S the Ledoit-Wolf covariance of centred rows (S, K)."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(rows, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    # Directions without any spread carry no information; a floor keeps them from exploding.
    floor = max(float(values[-1]) * 1e-9, np.finfo(np.float64).tiny)
    whitening: Float64Array = vectors / np.sqrt(np.maximum(values, floor))
    return whitening


def permutation_p(statistics: Float64Array) -> float:
    """The p-value (1 + k) / (1 + B), k of B permuted values being at least the observed [0]."""
    observed, permuted = statistics[0], statistics[1:]
    return float(1 + np.sum(permuted >= observed * _TIE)) / (1 + len(permuted))


def mean_shift(
    name: str, plan: Design, draws: Relabelling, reference: Float64Array, current: Float64Array
) -> Statistic:
    """Two-sided permutation test of a scalar (N,); the value is signed, current - reference."""
    contrast, _ = _contrasts(plan, draws, reference[:, None], current[:, None])
    p_value = permutation_p(np.abs(contrast[:, 0]))
    return Statistic(name, float(contrast[0, 0]), p_value, plan.subjects)


def hotelling(
    name: str, plan: Design, draws: Relabelling, reference: Float64Array, current: Float64Array
) -> Statistic:
    """Permutation test of Hotelling's T2 of vectors (N, K), as in the module's docstring."""
    contrast, rows = _contrasts(plan, draws, reference, current)
    t2 = sum(plan.weights) * np.square(contrast @ _whitening(rows)).sum(axis=1)
    return Statistic(name, float(t2[0]), permutation_p(t2), plan.subjects)


def drift_tests(
    reference: Window, current: Window, plan: Design, *, permutations: int, seed: int | list[int]
) -> list[Statistic]:
    """The two tests that may raise an alarm, T2 of residuals and shift of the genuine score.

    Also the shift of quality, which explains an alarm but never raises one.

    Args:
        reference: probes the champion met before this day, one visit a subject.
        current: probes of the day.
        plan: `design(reference, current)`.
        permutations: B, at least 1.
        seed: of the permutations; the same seed gives the same p-values.

    Returns:
        Statistics with uncorrected p-values, in the order above.

    Raises:
        ValueError: no subject can be compared (`plan.subjects` is 0).
    """
    if plan.subjects == 0:
        raise ValueError("no subject can be compared between the two windows")
    draws = Relabelling.draw(plan, permutations, np.random.default_rng(seed))
    return [
        hotelling(RESIDUAL_T2, plan, draws, reference.residual, current.residual),
        mean_shift(GENUINE_SHIFT, plan, draws, reference.genuine, current.genuine),
        mean_shift(QUALITY_SHIFT, plan, draws, reference.quality, current.quality),
    ]


def population_test(
    reference: Window, current: Window, *, permutations: int, seed: int | list[int]
) -> Statistic | None:
    """T2 on the templates of new subjects: tells "new people" from "new sensor".

    Returns None where there are no new subjects, or nobody unseen to compare them with.
    """
    plan = population_design(reference, current)
    if plan.subjects == 0:
        return None
    draws = Relabelling.draw(plan, permutations, np.random.default_rng(seed))
    return hotelling(POPULATION_T2, plan, draws, reference.template, current.template)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979): family-wise error at most alpha, any dependence."""
    order = np.argsort(p_values, kind="stable")
    steps = np.arange(len(p_values), 0, -1) * np.asarray(p_values)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
