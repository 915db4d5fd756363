"""Error rates by group."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biometric_core.reporting.canvas import panels, save

_TITLES = {"eer": "EER", "fnmr": "FNMR, threshold of all", "fmr": "FMR, threshold of all"}


def group_rates(name: str, groups: Mapping[str, Mapping[str, Any]], path: Path) -> Path | None:
    """Rates of each group with their intervals, one panel for each rate; None without groups."""
    if not groups:
        return None
    figure, axes = panels(len(_TITLES), 10, 1.4 + 0.32 * len(groups))
    for one, (rate, title) in zip(axes, _TITLES.items(), strict=True):
        for row, group in enumerate(groups.values()):
            value, bounds = group[rate], group["intervals"][rate]
            if bounds is not None:
                one.plot([100 * bound for bound in bounds], [row, row], color="0.5", linewidth=3)
            one.plot([100 * value], [row], "o", color="black", markersize=5)
        one.set(title=title, xlabel="%", ylim=(len(groups) - 0.5, -0.5))
        one.set_yticks(range(len(groups)), [label.replace("_", " ") for label in groups])
    for one in axes[1:]:
        one.tick_params(labelleft=False)
    figure.suptitle(f"Error rates by group: {name}")
    return save(figure, path)
