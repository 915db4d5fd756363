"""Pictures of what the tables hold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from biometric_core.data.inventory import ModalityData
from biometric_core.reporting.canvas import MATED, panels, save, single

_BINS = 40
_MOST = 20  # more impressions of one eye or finger than that share a bar


def capture_quality(name: str, data: ModalityData, path: Path) -> Path:
    """Histograms of all measures of a modality; a dashed line at the median.

    Args:
        name: for the title.
        data: of the modality.
        path: the PNG to write.
    """
    measured = {measure: values for measure, values in data.measures.items() if len(values)}
    figure, axes = panels(max(1, len(measured)), 12, 3.2)
    for one, (measure, values) in zip(axes, measured.items(), strict=False):
        one.hist(values, bins=_BINS, color=MATED, alpha=0.8)
        one.axvline(float(np.median(values)), linestyle="--", color="black", linewidth=1)
        one.set(xlabel=measure, ylabel="captures")
    figure.suptitle(f"Quality: {name}")
    return save(figure, path)


def impressions(name: str, data: ModalityData, path: Path) -> Path:
    """How many eyes or fingers have how many captures."""
    figure, axes = single("captures", "eyes or fingers", f"Captures of an eye or finger: {name}")
    figure.set_size_inches(6, 3.2)
    values = np.minimum(data.impressions, _MOST)
    found, number = np.unique(values, return_counts=True)
    axes.bar(found, number, color=MATED)
    axes.set_xlim(0, found.max() + 1)
    axes.set_xticks(found, [f"{n} or more" if n == _MOST else str(n) for n in found])
    return save(figure, path)


def reasons(title: str, counts: Mapping[str, int], path: Path) -> Path:
    """Counts by reason as bars, the most frequent on top."""
    figure, axes = single("files", "", title)
    figure.set_size_inches(7, 1.0 + 0.35 * len(counts))
    names = [reason.replace("_", " ") for reason in counts]
    bars = axes.barh(names, list(counts.values()), color=MATED)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    return save(figure, path)
