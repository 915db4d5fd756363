"""How much better a challenger is than the champion, on the same comparisons.

The figure is Cllr, the cost of the log-likelihood ratios that decisions are taken on (Brümmer and
du Preez 2006): it sees what fixed thresholds see, discrimination and calibration, and every
comparison counts, where error rates only count those beyond a threshold. The EER is looked at as
well, so that a better calibration never pays for worse discrimination. docs/decisions/0012.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from biometric_core.config import Gate
from biometric_core.matching.bootstrap import (
    Resampled,
    cllr_rate,
    difference,
    error_rates,
    mean_of,
    people_of,
)
from biometric_core.matching.comparisons import Comparisons
from biometric_core.matching.error_rates import one_kind


@dataclass(frozen=True)
class Difference:
    """A figure of the champion less that of the challenger: above zero the challenger is better.

    Attributes:
        champion, challenger: the figure, mean over modalities; None where it is not defined.
        value: their difference.
        low, high: its bootstrap interval over subjects; None where it is not defined.
    """

    champion: float | None
    challenger: float | None
    value: float | None
    low: float | None
    high: float | None

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`; never where either is missing or NaN."""
        return self.low is not None and math.isfinite(self.low) and self.low > bound

    def told(self, unit: str, factor: float = 1.0) -> str:
        """For people: the difference and its interval."""
        if self.value is None or self.low is None or self.high is None:
            return "not measurable"
        value, low, high = (factor * number for number in (self.value, self.low, self.high))
        return f"{value:+.3g} {unit} (interval {low:+.3g} to {high:+.3g})"


@dataclass(frozen=True)
class Improvement:
    """Cllr in bits and EER in [0, 1] of single captures; `subjects` have mated comparisons."""

    cllr: Difference
    eer: Difference
    subjects: int

    def worth(self, settings: Gate) -> float:
        """The difference in Cllr, in bits, from which a switch is worth it.

        Two trainings that differ by their seed alone differ a little in truth; no number of test
        subjects makes that an improvement.
        """
        champion = self.cllr.champion
        share = math.inf if champion is None else settings.min_improvement_share * champion
        return max(settings.min_improvement, share)

    def better(self, settings: Gate) -> bool:
        """Whether Cllr is lower by more than a switch is worth, and the EER no worse."""
        return self.cllr.above(self.worth(settings)) and self.eer.above(-settings.margin)

    def no_worse(self, settings: Gate) -> bool:
        """Whether Cllr and EER are shown to be worse by less than their margins."""
        return self.cllr.above(-settings.margin_cllr) and self.eer.above(-settings.margin)

    def __str__(self) -> str:
        cllr, eer = self.cllr.told("bits"), self.eer.told("points", 100)
        return f"Cllr improved by {cllr}, EER by {eer}"

    def numbers(self, settings: Gate) -> dict[str, Any]:
        """JSON-able, with what was asked for."""
        worth = self.worth(settings)
        return {**asdict(self), "worth": worth if math.isfinite(worth) else None}


@dataclass(frozen=True)
class Measured:
    """One model on some comparisons, mean over modalities; `subjects` have mated comparisons."""

    cllr: Resampled
    eer: Resampled
    subjects: int


def measured(parts: Sequence[Comparisons], settings: Gate) -> Measured:
    """Measure a model; modalities without mated or non-mated comparisons here don't count.

    People are drawn once for all modalities, whoever has captures of which.

    Args:
        parts: comparisons of each modality.
        settings: replicates and seed.
    """
    usable = [part for part in parts if not one_kind(part.mated)]
    people = people_of(usable)
    draws: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
    costs = [cllr_rate(part, **draws, people=people) for part in usable]
    rates = [error_rates(part, fmrs=(), **draws, people=people) for part in usable]
    return Measured(
        mean_of(costs),
        mean_of([rate["eer"] for rate in rates]),
        max((len(np.unique(part.subject_a[part.mated])) for part in usable), default=0),
    )


def improvement(champion: Measured, challenger: Measured, settings: Gate) -> Improvement:
    """Compare two models that were measured on the same comparisons."""
    return Improvement(
        _difference(champion.cllr, challenger.cllr, settings.confidence),
        _difference(champion.eer, challenger.eer, settings.confidence),
        champion.subjects,
    )


def _difference(champion: Resampled, challenger: Resampled, confidence: float) -> Difference:
    found = difference(champion, challenger).interval(confidence)
    numbers = (champion.value, challenger.value, found.value, found.low, found.high)
    finite = (n if n is not None and math.isfinite(n) else None for n in numbers)
    return Difference(*finite)
