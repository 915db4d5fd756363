"""Both models on the same captures, now: is the challenger fit for release, and is it better?

Pure: recognisers and captures in, a ruling with all its numbers out. `promote` acts on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biometric_core.config import Config, Gate
from biometric_core.data.capture_sets import CaptureSet, Sets
from biometric_core.evaluation.figures import Scored, scored
from biometric_core.history.changes import Change
from biometric_core.matching import error_rates
from biometric_core.matching.comparisons import Comparisons
from biometric_core.promotion.improvement import Improvement, improvement, measured
from biometric_core.promotion.release import check_release
from biometric_core.recogniser import FUSED, Recogniser
from biometric_core.schemas import BoolArray, Modality

Latency = Mapping[str, float] | None
Pair = tuple[Comparisons, Comparisons]
"""The same comparisons by the champion and by the challenger."""


@dataclass(frozen=True)
class Ruling:
    """What the gate concludes; `numbers` is JSON-able and holds every figure looked at."""

    promote: bool
    reason: str
    numbers: dict[str, Any]


def rule(
    challenger: Recogniser,
    champion: Recogniser | None,
    sets: Sets,
    config: Config,
    *,
    latency: Latency = None,
    change: Change | None = None,
    champions: Sets | None = None,
) -> Ruling:
    """Judge a challenger on captures of subjects that neither model was trained on.

    Without a champion the release thresholds alone decide; with one, `compare` as well.

    Args:
        challenger: the candidate.
        champion: the model in use, None before the first.
        sets: captures by modality; those of subjects either was trained on are left out.
        config: `gate` and `release` decide.
        latency: of the challenger, as `latency.latency` measures it.
        change: after drift, what changed.
        champions: the same rows as the champion needs them prepared; None: as the challenger does.

    Raises:
        ModelError: a model gives numbers that are not finite.
    """
    unseen = _unseen(sets, challenger, champion)
    common = _common(challenger, champion)
    own = scored(challenger, unseen, common)
    numbers = _numbers(own, unseen, latency, config)
    if unfit := _unfit(numbers, config.gate):
        return Ruling(False, unfit, numbers)
    if champion is None:
        return Ruling(True, "no champion yet, and every release threshold holds", numbers)
    theirs = unseen if champions is None else _unseen(champions, challenger, champion)
    other = scored(champion, theirs, common, own.codes if champions is None else None)
    pairs = _pairs(other, own, common)
    rows = None if change is None else {m: change.changed(unseen[m]) for m in pairs}
    found = compare(pairs, rows, config.gate)
    return replace(found, numbers={**numbers, "champion": _eers(other), **found.numbers})


def _numbers(own: Scored, unseen: Sets, latency: Latency, config: Config) -> dict[str, Any]:
    """What is on record of the challenger alone, whatever the ruling."""
    fused = own.comparisons.get(FUSED)
    figures = {**_eers(own), "latency": dict(latency) if latency else None}
    ok, reasons = check_release({**figures, "reasons": own.reasons}, config.release)
    return {
        "subjects": 0 if fused is None else len(np.unique(fused.subject_a[fused.mated])),
        "captures": {modality.value: len(found) for modality, found in unseen.items()},
        "challenger": figures,
        "release": {"ok": ok, "reasons": reasons},
    }


def _unfit(numbers: Mapping[str, Any], settings: Gate) -> str | None:
    """Why a challenger can't become champion, whoever the champion is; None where it can."""
    subjects, release = numbers["subjects"], numbers["release"]
    if subjects < settings.min_subjects:
        reason = f"{subjects} test subjects with mated comparisons, gate.min_subjects is "
        return f"{reason}{settings.min_subjects}"
    if not release["ok"]:
        failed = [line for line in release["reasons"] if line.startswith("failed")]
        return "not fit for release: " + "; ".join(failed)
    return None


def _pairs(
    champion: Scored, challenger: Scored, common: Sequence[Modality]
) -> dict[Modality, Pair]:
    return {
        modality: (champion.comparisons[modality.value], challenger.comparisons[modality.value])
        for modality in common
        if modality.value in challenger.comparisons
    }


def compare(
    pairs: Mapping[Modality, Pair], changed: Mapping[Modality, BoolArray] | None, settings: Gate
) -> Ruling:
    """Hold two models against each other on the same comparisons of single captures.

    Without a change the challenger must be better on all of them: Cllr lower by more than a switch
    is worth (the whole interval over subjects), and an EER that is no worse. After one it must be
    better on the comparisons that involve a changed capture, and no worse on the others.

    Args:
        pairs: by modality, the comparisons by the champion and by the challenger.
        changed: by modality, bool (N,): which of the compared captures the changed sensor took.
        settings: margins, least improvement, bootstrap.
    """
    for one, other in pairs.values():
        if not one.same_pairs(other):
            raise ValueError("champion and challenger must be scored on exactly the same pairs")
    parts = {"all": list(pairs.values())}
    if changed is not None:
        new = {m: changed[m][one.first] | changed[m][one.second] for m, (one, _) in pairs.items()}
        for name, rows in (("new", new), ("old", {m: ~found for m, found in new.items()})):
            parts[name] = [(a.select(rows[m]), b.select(rows[m])) for m, (a, b) in pairs.items()]
    found = {}
    for name, part in parts.items():
        champion, challenger = (measured([pair[i] for pair in part], settings) for i in (0, 1))
        found[name] = improvement(champion, challenger, settings)
    return conclude(found, settings)


def conclude(found: Mapping[str, Improvement], settings: Gate) -> Ruling:
    """The ruling on what was measured.

    Args:
        found: on `all` comparisons; after drift also on those with a changed capture (`new`) and
            on the others (`old`).
        settings: margins and least improvement.
    """
    numbers = {
        "improvement": {name: one.numbers(settings) for name, one in found.items()},
        "margins": {"cllr": settings.margin_cllr, "eer": settings.margin},
    }
    least = settings.min_subjects
    few = [f"{one.subjects} on the {name}" for name, one in found.items() if one.subjects < least]
    if few:
        reason = f"too few subjects to compare ({', '.join(few)} captures; gate.min_subjects is "
        return Ruling(False, f"{reason}{least})", numbers)
    if "new" in found:
        promote, reason = _after_drift(found["old"], found["new"], settings)
    else:
        promote, reason = _ordinary(found["all"], settings)
    return Ruling(promote, reason, numbers)


def _ordinary(found: Improvement, settings: Gate) -> tuple[bool, str]:
    better = found.better(settings)
    word = "proven" if better else "not proven"
    return better, f"improvement {word}: {found}; {_asked(found, settings)}"


def _after_drift(old: Improvement, new: Improvement, settings: Gate) -> tuple[bool, str]:
    kept, better = old.no_worse(settings), new.better(settings)
    reason = (
        f"after drift, on changed captures {'' if better else 'not proven '}better: {new}; "
        f"{_asked(new, settings)}. On old captures {'' if kept else 'not '}shown to be worse by "
        f"less than {settings.margin_cllr:g} bits and {100 * settings.margin:g} points: {old}"
    )
    return kept and better, reason


def _asked(found: Improvement, settings: Gate) -> str:
    margin = 100 * settings.margin
    return f"asked for: more than {found.worth(settings):.2g} bits, above -{margin:g} points"


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
        if comparisons is not None and not error_rates.one_kind(comparisons.mated):
            figures[name] = {
                "eer": error_rates.eer(comparisons.scores, comparisons.mated),
                "n_mated": comparisons.n_mated,
                "n_non_mated": comparisons.n_non_mated,
            }
    return figures
