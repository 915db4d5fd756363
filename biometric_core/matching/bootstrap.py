"""Confidence intervals by bootstrap over subjects.

Comparisons of one subject depend on each other, so subjects are drawn, never comparisons. With
w_i the number of times subject i of n was drawn, a comparison of subjects i and j has the weight
w_i * w_j, and one within a subject has w_i * (n - 1) / n (Bolle et al. 2004, "Error analysis of
pattern recognition systems: the subsets bootstrap"). The factor is the mean of w_i * w_j: without
it, comparisons of a subject's two eyes would weigh more in the replicates than in the data. Scores
are sorted once; each replicate is two cumulative sums of weights.

Figures of several modalities that are averaged are drawn over the people of all of them (`people`):
who is drawn twice is so in each. Were the irises of 1,000 people and the fingers of 300 of them
drawn apart, errors of one person would count as those of two: the interval would be too narrow.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.sparse import coo_array

from biometric_core.matching.calibration import cllr, cllr_costs
from biometric_core.matching.comparisons import Comparisons, Identification
from biometric_core.matching.error_rates import (
    crossing,
    eer,
    fnmr_at_fmr,
    one_kind,
    operating_index,
    tie_ends,
)
from biometric_core.parallel.thread_limits import usable_cores
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import BoolArray, Float64Array, IntArray, StrArray

_CHUNK_VALUES = 400_000  # weights held at a time: a few megabytes stay in the cache


@dataclass(frozen=True)
class Interval:
    """A figure and its bootstrap percentile interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def bounds(self) -> list[float] | None:
        """[low, high], or None."""
        return None if self.low is None or self.high is None else [self.low, self.high]


@dataclass(frozen=True)
class _Sorted:
    """Comparisons in falling order of score, ready for weighted error rates."""

    mated: BoolArray
    first: IntArray
    second: IntArray
    ends: IntArray
    subjects: int
    within: BoolArray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "within", self.first == self.second)

    @classmethod
    def of(cls, comparisons: Comparisons, people: StrArray) -> "_Sorted":
        order = np.argsort(-comparisons.scores, kind="stable")
        first, second = _sides(comparisons, people)
        return cls(
            mated=comparisons.mated[order],
            first=first[order],
            second=second[order],
            ends=tie_ends(comparisons.scores[order]),
            subjects=len(people),
        )

    def curve(self, draws: Float64Array) -> tuple[Float64Array, Float64Array]:
        """FMR and FNMR, (R, K + 1) each, for draws (R, S); NaN where a kind has no weight."""
        weights = draws[:, self.first]
        inner = (self.subjects - 1) / self.subjects
        weights *= np.where(self.within, inner, draws[:, self.second])
        accepted = np.cumsum(weights, axis=1)
        weights *= self.mated
        mated = np.cumsum(weights, axis=1, out=weights)
        non_mated = accepted[:, self.ends] - mated[:, self.ends]
        mated = mated[:, self.ends]
        with np.errstate(invalid="ignore", divide="ignore"):
            fmr = np.pad(non_mated / non_mated[:, -1:], ((0, 0), (1, 0)))
            fnmr = np.pad(1 - mated / mated[:, -1:], ((0, 0), (1, 0)), constant_values=1.0)
        fnmr[np.isnan(fmr[:, -1])] = np.nan
        return fmr, fnmr


def people_of(parts: Iterable[Comparisons]) -> StrArray:
    """Whoever is compared in any of them, sorted, str (S,)."""
    sides = [side for part in parts for side in (part.subject_a, part.subject_b)]
    return np.unique(np.concatenate([np.zeros(0, np.str_), *sides]))


def _sides(comparisons: Comparisons, people: StrArray) -> tuple[IntArray, IntArray]:
    """The number among `people` (sorted) of each comparison's subjects, int64 (P,) each."""
    first, second = (
        np.searchsorted(people, side) for side in (comparisons.subject_a, comparisons.subject_b)
    )
    return first, second


def _draws(subjects: int, replicates: int, seed: int, values: int) -> Iterator[Float64Array]:
    """How often each subject was drawn, (R, S), in chunks; the same for the same seed."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=replicates)
    step = max(1, _CHUNK_VALUES // max(values, 1))
    for start in range(0, replicates, step):
        yield counts[start : start + step].astype(np.float64)


@dataclass(frozen=True)
class Resampled:
    """A figure, and the same figure of each bootstrap replicate.

    Attributes:
        value: None where it is not defined.
        drawn: float64, (R,); NaN where a replicate holds no mated or no non-mated comparison.
            Empty with fewer than two subjects.
    """

    value: float | None
    drawn: Float64Array

    def interval(self, confidence: float) -> Interval:
        """The percentile interval of the replicates in which the figure is defined."""
        known = self.drawn[~np.isnan(self.drawn)]
        if self.value is None or not len(known):
            return Interval(self.value, None, None)
        tail = (1 - confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(self.value, float(low), float(high))


def mean_of(parts: Sequence[Resampled]) -> Resampled:
    """The mean of figures of folds or modalities, replicate by replicate; None if one is.

    Without an interval where a part has none: a fold of one subject can't be drawn again.
    """
    values = [part.value for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not parts:
        return Resampled(None, np.zeros(0))
    if len({len(part.drawn) for part in parts}) != 1:
        return Resampled(float(np.mean(known)), np.zeros(0))
    return Resampled(float(np.mean(known)), np.mean([part.drawn for part in parts], axis=0))


def error_rates(
    comparisons: Comparisons,
    *,
    fmrs: tuple[float, ...],
    replicates: int,
    seed: int,
    people: StrArray | None = None,
) -> dict[str, Resampled]:
    """EER and FNMR at each FMR, resampled over subjects.

    Args:
        comparisons: P pairs.
        fmrs: at which the FNMR is asked for.
        replicates: number of draws.
        seed: of the draws.
        people: who is drawn, sorted, str (S,); the comparisons' subjects when None.

    Returns:
        `eer` and `fnmr_at_fmr_<fmr>`. A value is None where it is not defined (one kind of
        comparison only, or too few non-mated ones).
    """
    scores, mated = comparisons.scores, comparisons.mated
    values = {"eer": eer(scores, mated)}
    values |= {f"fnmr_at_fmr_{fmr:g}": fnmr_at_fmr(scores, mated, fmr) for fmr in fmrs}
    drawn = [np.zeros((len(values), 0))]
    own = people_of([comparisons])
    if not one_kind(mated) and len(own) > 1:
        pairs = _Sorted.of(comparisons, own if people is None else people)
        chunks = _draws(pairs.subjects, replicates, seed, len(comparisons))
        drawn += map_threads(partial(_rates, pairs, fmrs), chunks, usable_cores(), together=1)
    found = zip(values.items(), np.concatenate(drawn, axis=1), strict=True)
    return {name: Resampled(value, rates) for (name, value), rates in found}


def _rates(pairs: _Sorted, fmrs: tuple[float, ...], draws: Float64Array) -> Float64Array:
    """EER, then FNMR at each FMR, of draws (R, S): (1 + fmrs, R)."""
    fmr_curve, fnmr_curve = pairs.curve(draws)
    found = [crossing(fmr_curve, fnmr_curve)]
    for fmr in fmrs:
        index = operating_index(fmr_curve, fmr)[:, None]
        found.append(np.take_along_axis(fnmr_curve, index, axis=1)[:, 0])
    return np.stack(found)


def share(
    comparisons: Comparisons,
    counted: BoolArray,
    hits: BoolArray,
    *,
    replicates: int,
    seed: int,
) -> Resampled:
    """Share of `hits` among the `counted` comparisons, resampled over subjects.

    FNMR at a fixed threshold: mated comparisons are counted, those below it are hits.

    Args:
        comparisons: P pairs; all their subjects are drawn from.
        counted: bool, (P,).
        hits: bool, (P,); only those that are counted matter.
        replicates: number of draws.
        seed: of the draws.

    Returns:
        The value is None where nothing is counted.
    """
    total = int(counted.sum())
    value = float((hits & counted).sum() / total) if total else None
    names = people_of([comparisons])
    if not total or len(names) < 2:
        return Resampled(value, np.zeros(0))
    sides = _sides(comparisons, names)
    draws = np.concatenate(list(_draws(len(names), replicates, seed, len(names))))
    below, above = (
        _sum(sides, chosen.astype(np.float64), draws) for chosen in (counted, hits & counted)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return Resampled(value, above / below)


def _sum(
    sides: tuple[IntArray, IntArray], values: Float64Array, draws: Float64Array
) -> Float64Array:
    """The sum of the comparisons' values, weighted as each draw says, (R,)."""
    subjects = draws.shape[1]
    some = values != 0
    first, second = sides[0][some], sides[1][some]
    pairs = coo_array((values[some], (first, second)), shape=(subjects, subjects)).tocsr()
    own = pairs.diagonal()
    across = (draws @ pairs * draws).sum(axis=1) - draws**2 @ own
    return np.asarray(across + (subjects - 1) / subjects * (draws @ own), dtype=np.float64)


def rank1_rate(identification: Identification, *, replicates: int, seed: int) -> Resampled:
    """Rank-1 rate, resampled over the probes' subjects (the gallery is held fixed)."""
    names, codes = np.unique(identification.subjects, return_inverse=True)
    if len(names) < 2:
        return Resampled(identification.rank1, np.zeros(0))
    hits = np.bincount(codes, weights=identification.ranks == 1, minlength=len(names))
    probes = np.bincount(codes, minlength=len(names)).astype(np.float64)
    draws = np.concatenate(list(_draws(len(names), replicates, seed, len(names))))
    return Resampled(identification.rank1, (draws @ hits) / (draws @ probes))


def cllr_rate(
    comparisons: Comparisons, *, replicates: int, seed: int, people: StrArray | None = None
) -> Resampled:
    """Cllr in bits (`calibration.cllr`), resampled over subjects; scores are natural-log LLRs.

    Arguments as for `error_rates`.
    """
    mated = comparisons.mated
    value = cllr(comparisons.scores, mated)
    own = people_of([comparisons])
    if value is None or len(own) < 2:
        return Resampled(value, np.zeros(0))
    names = own if people is None else people
    sides = _sides(comparisons, names)
    draws = np.concatenate(list(_draws(len(names), replicates, seed, len(names))))
    costs = cllr_costs(comparisons.scores, mated)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [
            _sum(sides, np.where(kind, costs, 0.0), draws)
            / _sum(sides, kind.astype(np.float64), draws)
            for kind in (mated, ~mated)
        ]
    return Resampled(value, (means[0] + means[1]) / 2)


def difference(first: Resampled, second: Resampled) -> Resampled:
    """A figure of two models on the same pairs, the first less the second, replicate by replicate.

    Both were resampled with the same seed, so with the same draws of subjects: what is common to
    both (hard subjects) cancels out.
    """
    if first.value is None or second.value is None:
        return Resampled(None, np.zeros(0))
    return Resampled(first.value - second.value, first.drawn - second.drawn)
