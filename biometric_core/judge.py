"""Both models on the same captures, now: is the challenger fit for release, and is it better?

Pure: recognisers and captures in, a verdict with all its numbers out. `gate` acts on it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core import metrics
from biometric_core.bootstrap import mean_of, paired_eer_difference
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet
from biometric_core.figures import Scored, scored
from biometric_core.match import Comparisons
from biometric_core.recogniser import FUSED, Recogniser
from biometric_core.release import check_release
from biometric_core.schemas import Modality

Sets = Mapping[Modality, CaptureSet]
Latency = Mapping[str, float] | None
Pair = tuple[Comparisons, Comparisons]
"""The same comparisons by the champion and by the challenger."""

FIGURE = "EER of single captures"


@dataclass(frozen=True)
class Verdict:
    """What the gate concludes; `numbers` is JSON-able and holds every figure looked at."""

    promote: bool
    reason: str
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Improvement:
    """EER of the champion less that of the challenger: above zero, the challenger is better.

    The EER is that of single captures, mean over modalities. The fused EER of both eyes and two
    fingers is near zero for any usable model and can tell no two models apart.

    Attributes:
        value: on the captures at hand; None where it is not defined.
        low: end of the bootstrap interval over subjects; None where it is not defined.
        high: the other end.
        subjects: subjects with mated comparisons.
    """

    value: float | None
    low: float | None
    high: float | None
    subjects: int

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`; never where it is missing or NaN."""
        return self.low is not None and math.isfinite(self.low) and self.low > bound

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "not measurable"
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.value:+.2f} points (interval {low:+.2f} to {high:+.2f})"


def judge(
    challenger: Recogniser,
    champion: Recogniser | None,
    sets: Sets,
    config: Config,
    *,
    latency: Latency = None,
    drift_day: date | None = None,
) -> Verdict:
    """Judge a challenger on captures of subjects that neither model was trained on.

    Without a champion the release thresholds alone decide. With one, the EER of single captures
    must have improved (interval over subjects above zero); after drift, be no worse than
    `gate.margin` on the comparisons of old captures and better on those that involve a capture of
    `drift_day` or later.

    Args:
        challenger: the candidate.
        champion: the model in use, None before the first.
        sets: captures by modality; those of subjects either was trained on are left out.
        config: `gate` and `release` decide.
        latency: of the challenger, as `evaluate.latency` measures it.
        drift_day: the day from which captures come from the changed sensor.

    Raises:
        ModelError: a model gives numbers that are not finite.
    """
    unseen = _unseen(sets, challenger, champion)
    common = _common(challenger, champion)
    own = scored(challenger, unseen, common)
    subjects = _mated_subjects(own.comparisons.get(FUSED))
    figures = {**_eers(own), "latency": dict(latency) if latency else None}
    release_ok, reasons = check_release({**figures, "reasons": own.reasons}, config.release)
    numbers = {
        "subjects": subjects,
        "captures": {modality.value: len(found) for modality, found in unseen.items()},
        "challenger": figures,
        "release": {"ok": release_ok, "reasons": reasons},
    }
    if subjects < config.gate.min_subjects:
        reason = f"{subjects} test subjects with mated comparisons, gate.min_subjects is "
        return Verdict(False, f"{reason}{config.gate.min_subjects}", numbers)
    if not release_ok:
        failed = [line for line in reasons if line.startswith("failed")]
        return Verdict(False, "not fit for release: " + "; ".join(failed), numbers)
    if champion is None:
        return Verdict(True, "no champion yet, and every release threshold holds", numbers)
    other = scored(champion, unseen, common)
    numbers["champion"] = _eers(other)
    pairs = {
        modality: (other.comparisons[modality.value], own.comparisons[modality.value])
        for modality in common
        if modality.value in own.comparisons
    }
    new = None if drift_day is None else _newer(unseen, drift_day)
    return _compare(pairs, new, config, numbers)


def _compare(
    pairs: Mapping[Modality, Pair],
    new: Mapping[Modality, npt.NDArray[np.bool_]] | None,
    config: Config,
    numbers: dict[str, Any],
) -> Verdict:
    parts: dict[str, list[Pair]] = {"all": list(pairs.values())}
    if new is not None:
        drifted = {m: new[m][one.first] | new[m][one.second] for m, (_, one) in pairs.items()}
        parts["new"] = [_part(pair, drifted[m]) for m, pair in pairs.items()]
        parts["old"] = [_part(pair, ~drifted[m]) for m, pair in pairs.items()]
    found = {name: improvement(part, config) for name, part in parts.items()}
    numbers["improvement"] = {name: vars(one) for name, one in found.items()}
    numbers["margin"] = config.gate.margin
    least = config.gate.min_subjects
    few = [f"{one.subjects} on the {name}" for name, one in found.items() if one.subjects < least]
    if few:
        reason = f"too few subjects to compare ({', '.join(few)} captures; gate.min_subjects is "
        return Verdict(False, f"{reason}{least})", numbers)
    if new is None:
        better = found["all"].above(0)
        word = "proven" if better else "not proven"
        return Verdict(better, f"improvement of the {FIGURE} {word}: {found['all']}", numbers)
    return _after_drift(found["old"], found["new"], config, numbers)


def _after_drift(
    old: Improvement, new: Improvement, config: Config, numbers: dict[str, Any]
) -> Verdict:
    margin = config.gate.margin
    kept, better = old.above(-margin), new.above(0)
    reason = (
        f"after drift, on drifted captures {'' if better else 'not proven '}better: {new}; on old "
        f"captures {'' if kept else 'not '}shown to be worse by less than {100 * margin:g} points: "
        f"{old} (improvement of the {FIGURE})"
    )
    return Verdict(kept and better, reason, numbers)


def improvement(pairs: Sequence[Pair], config: Config) -> Improvement:
    """How much lower the challenger's EER is, mean over modalities, with an interval over subjects.

    Modalities without mated or non-mated comparisons in this part don't count.
    """
    usable = [pair for pair in pairs if not metrics.one_kind(pair[0].mated)]
    settings = config.gate
    found = mean_of(
        [
            paired_eer_difference(*pair, replicates=settings.bootstrap, seed=settings.seed)
            for pair in usable
        ]
    ).interval(settings.confidence)
    value, low, high = (
        None if number is None or not math.isfinite(number) else -number + 0.0
        for number in (found.value, found.high, found.low)
    )
    return Improvement(
        value, low, high, max(map(_mated_subjects, (b for _, b in usable)), default=0)
    )


def _unseen(sets: Sets, *models: Recogniser | None) -> dict[Modality, CaptureSet]:
    trained = [name for model in models if model is not None for name in model.subjects]
    chosen = {m: found.select(~np.isin(found.subject_id, trained)) for m, found in sets.items()}
    return {modality: found for modality, found in chosen.items() if len(found)}


def _common(challenger: Recogniser, champion: Recogniser | None) -> tuple[Modality, ...]:
    known = challenger.modalities if champion is None else champion.modalities
    return tuple(modality for modality in challenger.modalities if modality in known)


def _eers(found: Scored) -> dict[str, Any]:
    names = (*(modality.value for modality in Modality), FUSED)
    figures: dict[str, Any] = dict.fromkeys(names)
    for name in names:
        comparisons = found.comparisons.get(name)
        if comparisons is not None and not metrics.one_kind(comparisons.mated):
            figures[name] = {
                "eer": metrics.eer(comparisons.scores, comparisons.mated),
                "n_mated": comparisons.n_mated,
                "n_non_mated": comparisons.n_non_mated,
            }
    return figures


def _mated_subjects(comparisons: Comparisons | None) -> int:
    if comparisons is None:
        return 0
    return len(np.unique(comparisons.subject_a[comparisons.mated]))


def _newer(sets: Sets, day: date) -> dict[Modality, npt.NDArray[np.bool_]]:
    """Captures of `day` or later, bool (N,), in the order of the comparisons' items."""
    return {m: captures.captured_at >= np.datetime64(day) for m, captures in sets.items()}


def _part(pair: Pair, rows: npt.NDArray[np.bool_]) -> Pair:
    champion, challenger = (
        replace(
            one,
            scores=one.scores[rows],
            mated=one.mated[rows],
            first=one.first[rows],
            second=one.second[rows],
        )
        for one in pair
    )
    return champion, challenger
