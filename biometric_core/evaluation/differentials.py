"""Differential performance: error rates by eye, by finger and by sex (ISO/IEC 19795-10).

A group's non-mated comparisons have both sides in the group. FMR and FNMR are measured at one
threshold for everybody, where the FMR of all comparisons is 1 %: at a threshold of its own each
group would look equal. The threshold is held fixed in the bootstrap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.config import Evaluation
from biometric_core.data.capture_sets import CaptureSet
from biometric_core.evaluation.figures import THRESHOLD_FMR
from biometric_core.matching import bootstrap, error_rates
from biometric_core.matching.bootstrap import Resampled
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import Float64Array, Modality, StrArray

WORDS = {"position": "eye or finger", "sex": "sex"}
RATES = ("eer", "fnmr", "fmr")
NOT_CARRIED = "too few non-mated comparisons for a threshold at FMR 1 %"
_MIN_SUBJECTS = 2


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


@dataclass(frozen=True)
class Differential:
    """Figures of the groups of one kind; `reason` says why there are none, or which lack."""

    groups: dict[str, dict[str, Any]] | None
    reason: str | None = None


def differentials(
    comparisons: Comparisons, traits: Traits, settings: Evaluation
) -> dict[str, Differential]:
    """Error rates of each group, by `position` (not for visits) and `sex`.

    Args:
        comparisons: all pairs.
        traits: of their items.
        settings: bootstrap and confidence.

    Returns:
        By kind; each group has `eer`, `fnmr`, `fmr`, `intervals`, `n_mated`, `n_non_mated` and
        `n_subjects`.
    """
    threshold = error_rates.threshold_at_fmr(comparisons.scores[~comparisons.mated], THRESHOLD_FMR)
    kinds = {"sex": traits.sex}
    if traits.modality is not None:
        kinds = {"position": traits.position, **kinds}
    if threshold is None:
        return dict.fromkeys(kinds, Differential(None, NOT_CARRIED))
    return {
        kind: _differential(comparisons, values, kind, threshold, settings)
        for kind, values in kinds.items()
    }


def _differential(
    comparisons: Comparisons,
    values: npt.NDArray[np.str_],
    kind: str,
    threshold: float,
    settings: Evaluation,
) -> Differential:
    names = sorted({str(value) for value in values} - {""})
    if len(names) < 2:
        known = f"only {names[0]!r} in the data" if names else "the source does not say it"
        return Differential(None, f"{WORDS[kind]}: {known}")
    inside = {name: within(comparisons, values == name) for name in names}
    usable = {name: found for name, found in inside.items() if _carries(found)}
    lacking = [name for name in names if name not in usable]
    short = "too few subjects, mated or non-mated comparisons within the group"
    reason = f"{', '.join(lacking)}: {short}" if lacking else None
    if len(usable) < 2:
        return Differential(None, reason)
    figures = {name: _figures(found, threshold, settings) for name, found in usable.items()}
    return Differential(figures, reason)


def within(comparisons: Comparisons, member: npt.NDArray[np.bool_]) -> Comparisons:
    """The comparisons whose two sides are both members; `member` is bool, (N,), by item."""
    chosen = member[comparisons.first] & member[comparisons.second]
    return replace(
        comparisons,
        scores=comparisons.scores[chosen],
        mated=comparisons.mated[chosen],
        first=comparisons.first[chosen],
        second=comparisons.second[chosen],
    )


def _subjects(comparisons: Comparisons) -> int:
    return len(np.unique(np.concatenate([comparisons.subject_a, comparisons.subject_b])))


def _carries(comparisons: Comparisons) -> bool:
    return not error_rates.one_kind(comparisons.mated) and _subjects(comparisons) >= _MIN_SUBJECTS


def _figures(comparisons: Comparisons, threshold: float, settings: Evaluation) -> dict[str, Any]:
    draws: dict[str, Any] = {"replicates": settings.bootstrap, "seed": settings.seed}
    mated, accepted = comparisons.mated, comparisons.scores >= threshold
    rates: dict[str, Resampled] = {
        **bootstrap.error_rates(comparisons, fmrs=(), **draws),
        "fnmr": bootstrap.share(comparisons, mated, ~accepted, **draws),
        "fmr": bootstrap.share(comparisons, ~mated, accepted, **draws),
    }
    intervals = {name: rate.interval(settings.confidence) for name, rate in rates.items()}
    return {
        **{name: interval.value for name, interval in intervals.items()},
        "intervals": {name: interval.bounds() for name, interval in intervals.items()},
        "n_mated": comparisons.n_mated,
        "n_non_mated": comparisons.n_non_mated,
        "n_subjects": _subjects(comparisons),
    }


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
