"""The comparisons that went most wrong: mated pairs with low, non-mated pairs with high scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biometric_core.matching.comparisons import Comparisons


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
