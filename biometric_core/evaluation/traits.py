"""What is known of the two sides of comparisons: eye or finger, sex of the subject, quality."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import Float64Array, Modality, StrArray


@dataclass(frozen=True)
class Traits:
    """Traits of the N items of comparisons.

    Attributes:
        sex: str, (N,), "M" or "F", "" where no capture of the subject says it.
        modality: of the captures that the items are; None where they are visits (fused).
        row: int64, (N,), the capture set's row of each item; empty for visits.
        position: str, (N,), eye or finger; empty for visits.
        quality: float64, (N,), in [0, 1]; empty for visits.
    """

    sex: StrArray
    modality: Modality | None
    row: npt.NDArray[np.int64]
    position: StrArray
    quality: Float64Array


def subject_sex(sets: Mapping[Modality, CaptureSet]) -> dict[str, str]:
    """The sex of each subject of whom any capture says it; left out where captures disagree."""
    said: dict[str, set[str]] = {}
    for captures in sets.values():
        for subject, sex in zip(captures.subject_id.tolist(), captures.sex.tolist(), strict=True):
            if sex:
                said.setdefault(subject, set()).add(sex)
    return {subject: next(iter(found)) for subject, found in said.items() if len(found) == 1}


def traits_of(comparisons: Comparisons, sets: Mapping[Modality, CaptureSet]) -> Traits:
    """Look the items of comparisons up among captures, by capture id.

    Args:
        comparisons: between captures of one modality, or between visits.
        sets: all captures that were compared, of all modalities.
    """
    known = subject_sex(sets)
    sex = np.array([known.get(str(name), "") for name in comparisons.subjects], dtype=np.str_)
    for modality, captures in sets.items():
        order = np.argsort(captures.capture_id, kind="stable")
        ids = captures.capture_id[order]
        place = np.minimum(np.searchsorted(ids, comparisons.items), max(len(ids) - 1, 0))
        if len(ids) and len(place) and bool((ids[place] == comparisons.items).all()):
            row = order[place]
            quality = captures.quality[row].astype(np.float64)
            return Traits(sex, modality, row, captures.position[row], quality)
    nothing = np.zeros(0, np.str_)
    return Traits(sex, None, np.zeros(0, np.int64), nothing, np.zeros(0))
