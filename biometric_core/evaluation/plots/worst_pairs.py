"""Failure cases: prepared samples side by side. Biometric images are personal data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.evaluation.differentials import Traits
from biometric_core.matching.comparisons import Comparisons
from biometric_core.reporting.canvas import save
from biometric_core.schemas import UInt8Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 4
_WIDE = 2


def failure_cases(
    name: str, comparisons: Comparisons, captures: CaptureSet, traits: Traits, path: Path
) -> Path | None:
    """The worst mated (left) and non-mated (right) pairs with their scores; nobody is named.

    Args:
        name: for the title.
        comparisons: between captures of `captures`.
        captures: prepared samples; what the mask leaves out is drawn dark.
        traits: rows, positions and qualities of the items.
        path: the PNG to write.

    Returns:
        None without comparisons.
    """
    found = worst(comparisons)
    rows = max(len(found.mated), len(found.non_mated))
    if not rows:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.6 + 1.7 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for column, pairs in enumerate((found.mated, found.non_mated)):
        for row, pair in enumerate(pairs):
            _draw(grid[row][column], comparisons, int(pair), captures, traits)
    figure.suptitle(f"{name}: mated pairs of lowest score | non-mated pairs of highest score")
    return save(figure, path)


def _draw(
    axes: "Axes", comparisons: Comparisons, pair: int, captures: CaptureSet, traits: Traits
) -> None:
    items = [int(side[pair]) for side in (comparisons.first, comparisons.second)]
    samples = [_shown(captures, int(traits.row[item])) for item in items]
    axes.imshow(_beside(samples), cmap="gray", vmin=0, vmax=255)
    places = " and ".join(str(traits.position[item]).replace("_", " ") for item in items)
    qualities = ", ".join(f"{traits.quality[item]:.2f}" for item in items)
    text = f"score {comparisons.scores[pair]:.2f}; {places}; quality {qualities}"
    axes.set_title(text, fontsize=8)


def _shown(captures: CaptureSet, row: int) -> UInt8Array:
    image, mask = captures.images[row], captures.masks[row]
    return np.asarray(np.where(mask > 0, image, image // 4), dtype=np.uint8)


def _beside(samples: list[UInt8Array]) -> UInt8Array:
    """Both in one picture: wide samples (rubber sheets) one above the other."""
    height, width = samples[0].shape
    if width > _WIDE * height:
        gap = np.full((_GAP, width), 255, np.uint8)
        return np.vstack([samples[0], gap, samples[1]])
    gap = np.full((height, _GAP), 255, np.uint8)
    return np.hstack([samples[0], gap, samples[1]])


@dataclass(frozen=True)
class Worst:
    """Indices of comparisons, int64; the worst first. Ties keep the order of the comparisons."""

    mated: npt.NDArray[np.int64]
    non_mated: npt.NDArray[np.int64]


def worst(comparisons: Comparisons, count: int = 6) -> Worst:
    """The `count` mated pairs of lowest and non-mated pairs of highest score."""
    order = np.argsort(comparisons.scores, kind="stable")
    falling = np.argsort(-comparisons.scores, kind="stable")
    return Worst(
        mated=order[comparisons.mated[order]][:count],
        non_mated=falling[~comparisons.mated[falling]][:count],
    )
