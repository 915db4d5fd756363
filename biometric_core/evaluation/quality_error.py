"""Does quality tell which comparisons fail? Error against discard, and error by quality.

The quality of a comparison is the lower one of its two captures. The error-versus-discard
characteristic (EDC, ISO/IEC 29794-1) shows the FNMR at a fixed threshold of the mated comparisons
that are left when those of lowest quality are discarded: it falls where quality predicts failure.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.evaluation.figures import THRESHOLD_FMR
from biometric_core.matching import error_rates
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import Float64Array

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3)
_BINS = 5
NO_MATED = "no mated comparison"
NOT_CARRIED = "too few non-mated comparisons for a threshold at FMR 1 %"
CONSTANT = "all mated comparisons have the same quality"


@dataclass(frozen=True)
class DiscardCurve:
    """The error-versus-discard characteristic; one point for each distinct quality.

    Attributes:
        discarded: float64, (K,), share of mated comparisons discarded, from 0 rising, below 1.
        fnmr: float64, (K,), FNMR of those left.
    """

    discarded: Float64Array
    fnmr: Float64Array

    def at(self, share: float) -> float:
        """FNMR when at most this share is discarded; comparisons of equal quality go together."""
        return float(self.fnmr[np.searchsorted(self.discarded, share + 1e-12, side="right") - 1])


@dataclass(frozen=True)
class QualityBin:
    """Mated comparisons of one range of quality, both ends included; scores are LLRs."""

    low: float
    high: float
    mated: int
    mean_score: float
    fnmr: float


def pair_quality(comparisons: Comparisons, quality: npt.ArrayLike) -> Float64Array:
    """Quality of each pair, the lower one of its two sides, float64 (P,).

    Args:
        comparisons: P pairs of N items.
        quality: (N,), of each item.
    """
    values = np.asarray(quality, dtype=np.float64)
    return np.minimum(values[comparisons.first], values[comparisons.second])


def error_discard(
    scores: npt.ArrayLike, quality: npt.ArrayLike, threshold: float
) -> DiscardCurve | None:
    """The EDC of mated comparisons.

    Args:
        scores: (M,), of mated comparisons.
        quality: (M,), of the same comparisons.
        threshold: a comparison is accepted where score >= threshold.

    Returns:
        None without comparisons.

    Raises:
        ValueError: a score or quality is not finite, or the shapes differ.
    """
    values, qualities = _checked(scores, quality)
    if not len(values):
        return None
    order = np.argsort(qualities, kind="stable")
    failed = (values < threshold)[order]
    first = np.flatnonzero(np.append(True, np.diff(qualities[order]) > 0))
    left = len(values) - first
    failures_left = failed.sum() - np.append(0, np.cumsum(failed))[first]
    return DiscardCurve(discarded=first / len(values), fnmr=failures_left / left)


def by_quality(
    scores: npt.ArrayLike, quality: npt.ArrayLike, threshold: float, bins: int = _BINS
) -> list[QualityBin]:
    """FNMR and mean score of mated comparisons by quantile of quality, lowest quality first.

    Equal qualities share a bin, so that there may be fewer than `bins`; empty without comparisons.

    Raises:
        ValueError: a score or quality is not finite, or the shapes differ.
    """
    values, qualities = _checked(scores, quality)
    if not len(values):
        return []
    edges = np.unique(np.quantile(qualities, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    number = np.searchsorted(edges, qualities, side="left")
    found = []
    for current in np.unique(number):
        chosen = number == current
        low, high = float(qualities[chosen].min()), float(qualities[chosen].max())
        failed = float((values[chosen] < threshold).mean())
        mean = float(values[chosen].mean())
        found.append(QualityBin(low, high, int(chosen.sum()), mean, failed))
    return found


def _checked(scores: npt.ArrayLike, quality: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    values = np.asarray(scores, dtype=np.float64)
    qualities = np.asarray(quality, dtype=np.float64)
    if values.ndim != 1 or values.shape != qualities.shape:
        raise ValueError(f"scores {values.shape} and quality {qualities.shape} must both be (M,)")
    if not (np.isfinite(values).all() and np.isfinite(qualities).all()):
        raise ValueError("scores or quality hold values that are not finite")
    return values, qualities


@dataclass(frozen=True)
class QualityError:
    """How quality and error go together in one set of comparisons.

    Attributes:
        threshold: the score threshold at FMR 1 % of all comparisons.
        curve: the EDC.
        bins: error by quality.
    """

    threshold: float
    curve: DiscardCurve
    bins: list[QualityBin]

    def record(self) -> dict[str, Any]:
        """JSON-able: `threshold_fmr`, `fnmr_discard_<share>`, and `bins`."""
        edc = {f"fnmr_discard_{share:g}": self.curve.at(share) for share in SHARES}
        bins = [asdict(found) for found in self.bins]
        return {"threshold_fmr": THRESHOLD_FMR, **edc, "bins": bins}


def quality_error(comparisons: Comparisons, quality: npt.ArrayLike) -> QualityError | str:
    """Quality against error at the threshold of FMR 1 %; the reason where it can't be said.

    Args:
        comparisons: mated and non-mated pairs.
        quality: (N,), of each item.

    Raises:
        ValueError: a quality is not finite.
    """
    mated = comparisons.mated
    threshold = error_rates.threshold_at_fmr(comparisons.scores[~mated], THRESHOLD_FMR)
    if threshold is None:
        return NOT_CARRIED
    scores, qualities = comparisons.scores[mated], pair_quality(comparisons, quality)[mated]
    curve = error_discard(scores, qualities, threshold)
    if curve is None:
        return NO_MATED
    if len(curve.discarded) == 1:
        return CONSTANT
    return QualityError(threshold, curve, by_quality(scores, qualities, threshold))
