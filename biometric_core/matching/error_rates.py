"""Error rates of biometric recognition, in plain numpy.

Terms and definitions follow ISO/IEC 19795-1. A score is a similarity: a comparison is accepted at
threshold t where score >= t. FMR(t) is the share of non-mated comparisons accepted, FNMR(t) the
share of mated comparisons rejected. Every function refuses scores that are not finite
(ValueError) and answers None where one of the two kinds of comparison is missing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.schemas import BoolArray, Float64Array, IntArray


@dataclass(frozen=True)
class DetCurve:
    """The detection error trade-off: every operating point of a set of scores.

    Attributes:
        fmr: float64, (K,), from 0 to 1, non-decreasing.
        fnmr: float64, (K,), from 1 to 0, non-increasing.
        thresholds: float64, (K,), decreasing; the first is +inf (nothing is accepted).
    """

    fmr: Float64Array
    fnmr: Float64Array
    thresholds: Float64Array


def checked(scores: npt.ArrayLike, mated: npt.ArrayLike) -> tuple[Float64Array, BoolArray]:
    """Scores as float64 (P,) and labels as bool (P,).

    Raises:
        ValueError: the shapes differ, or a score is NaN or infinite.
    """
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(mated, dtype=np.bool_)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"scores {values.shape} and labels {labels.shape} must both be (P,)")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} scores are not finite numbers")
    return values, labels


def one_kind(mated: BoolArray) -> bool:
    """True where there are no mated or no non-mated comparisons: no error rate is defined."""
    return not mated.any() or bool(mated.all())


def tie_ends(descending: Float64Array) -> IntArray:
    """Last index of each run of equal values, (K,): ties can only be accepted together."""
    return np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)


def det_curve(scores: npt.ArrayLike, mated: npt.ArrayLike) -> DetCurve | None:
    """All operating points; one for each distinct score, and one that accepts nothing."""
    values, labels = checked(scores, mated)
    if one_kind(labels):
        return None
    order = np.argsort(-values, kind="stable")
    ends = tie_ends(values[order])
    accepted_mated = np.cumsum(labels[order])[ends]
    accepted_non_mated = ends + 1 - accepted_mated
    return DetCurve(
        fmr=np.append(0.0, accepted_non_mated / (~labels).sum()),
        fnmr=np.append(1.0, 1.0 - accepted_mated / labels.sum()),
        thresholds=np.append(np.inf, values[order][ends]),
    )


def crossing(fmr: Float64Array, fnmr: Float64Array) -> Float64Array:
    """Where FMR and FNMR cross, by linear interpolation between neighbouring operating points.

    Args:
        fmr: (..., K), non-decreasing along the last axis, from 0 to 1.
        fnmr: (..., K), non-increasing along the last axis, from 1 to 0.

    Returns:
        The equal error rate, (...).
    """
    gap = fmr - fnmr
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    gap_before = np.take_along_axis(gap, after - 1, -1)[..., 0]
    gap_after = np.take_along_axis(gap, after, -1)[..., 0]
    fmr_before = np.take_along_axis(fmr, after - 1, -1)[..., 0]
    fmr_after = np.take_along_axis(fmr, after, -1)[..., 0]
    share = -gap_before / (gap_after - gap_before)
    return np.asarray(fmr_before + share * (fmr_after - fmr_before), dtype=np.float64)


def eer(scores: npt.ArrayLike, mated: npt.ArrayLike) -> float | None:
    """Equal error rate in [0, 1], interpolated at the crossing; tied scores move together.

    Example:
        >>> eer([3.0, 2.0, 1.0, 0.0], [True, False, True, False])
        0.5
    """
    curve = det_curve(scores, mated)
    return None if curve is None else float(crossing(curve.fmr, curve.fnmr))


def carries(non_mated: int, fmr: float) -> bool:
    """Whether `non_mated` comparisons can show an FMR of `fmr` at all: at least one expected."""
    return non_mated * fmr >= 1.0


def operating_index(fmr: Float64Array, target: float) -> IntArray:
    """Index of the loosest operating point whose FMR does not exceed `target`; fmr is (..., K)."""
    # a cumulated weight can exceed an exact share by rounding alone
    within = fmr <= target * (1 + 1e-9)
    return np.asarray(within.sum(axis=-1) - 1, dtype=np.int64)


def fnmr_at_fmr(scores: npt.ArrayLike, mated: npt.ArrayLike, fmr: float) -> float | None:
    """FNMR at the loosest threshold whose FMR is at most `fmr`, without interpolation.

    Returns:
        None also where the non-mated comparisons are too few to carry the FMR (fewer than 1/fmr).
    """
    curve = det_curve(scores, mated)
    if curve is None or not carries(int((~np.asarray(mated, dtype=np.bool_)).sum()), fmr):
        return None
    return float(curve.fnmr[operating_index(curve.fmr, fmr)])


def threshold_at_fmr(non_mated_scores: npt.ArrayLike, fmr: float) -> float | None:
    """The lowest threshold that keeps the FMR of these non-mated scores at or below `fmr`.

    Accept where score >= threshold. None where the scores are too few to carry the FMR.
    """
    values = np.asarray(non_mated_scores, dtype=np.float64)
    checked(values, np.zeros(values.shape, dtype=np.bool_))
    if not carries(len(values), fmr):
        return None
    descending = -np.sort(-values)
    allowed = int(np.floor(fmr * len(values) * (1 + 1e-9)))
    return float(np.nextafter(descending[min(allowed, len(values) - 1)], np.inf))


def auc(scores: npt.ArrayLike, mated: npt.ArrayLike) -> float | None:
    """Probability that a mated score exceeds a non-mated one, ties counted half (Mann-Whitney)."""
    values, labels = checked(scores, mated)
    if one_kind(labels):
        return None
    non_mated = np.sort(values[~labels])
    below = np.searchsorted(non_mated, values[labels], side="left")
    up_to = np.searchsorted(non_mated, values[labels], side="right")
    return float((below + up_to).mean() / (2 * len(non_mated)))


def ranks(scores: npt.NDArray[Any], mated: BoolArray) -> IntArray:
    """Rank of the best mated reference of each probe; a tie counts against the probe.

    Args:
        scores: (N, M), probes against gallery; -inf where no comparison is possible.
        mated: bool, (N, M); each probe has at least one mated reference in the gallery.

    Returns:
        int64, (N,), 1 where the mated reference scores above every other one.

    Raises:
        ValueError: a NaN among the scores, or a probe without a mated reference.
    """
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; no rank is defined")
    if not mated.any(axis=1).all():
        raise ValueError("closed-set ranks need a mated reference for every probe")
    best = np.where(mated, scores, -np.inf).max(axis=1)
    return np.asarray(1 + ((scores >= best[:, None]) & ~mated).sum(axis=1), dtype=np.int64)


def rank1(probe_ranks: IntArray) -> float | None:
    """Rank-1 identification rate: share of probes whose own identity scores highest."""
    return float((probe_ranks == 1).mean()) if len(probe_ranks) else None


def cmc(probe_ranks: IntArray, depth: int) -> Float64Array:
    """Cumulative match characteristic, (depth,): share of probes found at rank 1, 2, ... depth."""
    counts = np.bincount(np.minimum(probe_ranks, depth + 1), minlength=depth + 2)
    return np.asarray(np.cumsum(counts[1 : depth + 1]) / len(probe_ranks), dtype=np.float64)
