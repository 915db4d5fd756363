"""Quality against error."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biometric_core.evaluation.quality_error import DiscardCurve, QualityError, pair_quality
from biometric_core.matching.comparisons import Comparisons
from biometric_core.reporting.canvas import MATED, panels, save
from biometric_core.schemas import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def quality_against_error(
    name: str, found: QualityError, comparisons: Comparisons, quality: Float64Array, path: Path
) -> Path:
    """The EDC, and mated scores over quality with the FNMR of each quantile.

    Args:
        name: for the title.
        found: what `quality_error` found in these comparisons.
        comparisons: mated ones are drawn.
        quality: float64, (N,), of each item.
        path: the PNG to write.
    """
    figure, (left, right) = panels(2, 10, 4.4)
    _edc(left, found.curve)
    chosen = comparisons.mated
    values = pair_quality(comparisons, quality)[chosen]
    right.scatter(values, comparisons.scores[chosen], s=6, alpha=0.35, color=MATED, label="mated")
    right.axhline(found.threshold, color="0.4", linewidth=0.9, label="threshold at FMR 1 %")
    right.set(xlabel="quality (lower of the two)", ylabel="score", title="Scores by quality")
    rates = right.twinx()
    middles = [(one.low + one.high) / 2 for one in found.bins]
    rates.plot(middles, [100 * one.fnmr for one in found.bins], "s--", color="black")
    rates.set_ylabel("FNMR of the quantile in %")
    rates.set_ylim(bottom=0)
    right.legend(loc="lower right", fontsize=8)
    figure.suptitle(f"Quality against error: {name}")
    return save(figure, path)


def _edc(axes: "Axes", curve: DiscardCurve) -> None:
    discarded, fnmr = np.append(curve.discarded, 1.0), np.append(curve.fnmr, curve.fnmr[-1])
    axes.step(100 * discarded, 100 * fnmr, where="post", color=MATED, label="measured")
    # Where quality is perfect, every discarded comparison is one that would have failed.
    ideal = np.linspace(0, min(curve.fnmr[0], 0.99), 50)
    best = (curve.fnmr[0] - ideal) / (1 - ideal)
    axes.plot(100 * ideal, 100 * best, ":", color="0.4", label="the best possible")
    axes.set(xlabel="mated comparisons discarded in %", ylabel="FNMR in %")
    axes.set_title("Error versus discard, threshold at FMR 1 %")
    axes.set_xlim(0, 60)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
