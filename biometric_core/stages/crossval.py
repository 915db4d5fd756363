"""Cross-validation by subject: figures of the whole method on data sets, without the store.

Nothing of a fold's test subjects is used in its training, early stopping or calibration. For the
latter two the share `splits.validation` of its training subjects is held out.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, Sets
from biometric_core.data.splits import Fold, subject_folds
from biometric_core.data.without_store import SourceSets, merged, prepare_source
from biometric_core.errors import ModelError
from biometric_core.evaluation import chimeric as chimera
from biometric_core.evaluation.figures import (
    FUSED_NAMES,
    NAMES,
    Encodings,
    Measured,
    Scored,
    measure,
    measure_rounds,
    records,
    score_galleries,
    usable_sets,
)
from biometric_core.evaluation.fold_means import mean_over_folds
from biometric_core.evaluation.report import Evidence, write_report
from biometric_core.imaging.iris.paint_out import PaintOut
from biometric_core.matching.comparisons import pooled
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.recogniser import with_own_shapes
from biometric_core.reporting.words import percent
from biometric_core.schemas import Modality
from biometric_core.storage.files import atomic_write
from biometric_core.storage.private import owner_only
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from biometric_core.training.pretrained import FOLDER

_log = logging.getLogger(__name__)
_NO_COMMON_SUBJECT = (
    "no subject has mated pairs of both modalities: --chimeric pairs subjects of different sources"
)


@dataclass(frozen=True)
class _Study:
    """What all folds share.

    Attributes:
        prepared: what each source holds.
        sets: captures of all sources.
        config: how to train and measure.
        mated: sources with mated pairs by modality, where subjects are paired; else None.
        fused: whether some subject has mated pairs of all modalities that have any.
        pretrained: what is measured instead of training.
        paint_out: what is painted over in every eye; None for nothing.
    """

    prepared: Sequence[SourceSets]
    sets: Sets
    config: Config
    mated: chimera.Mated | None
    fused: bool
    pretrained: Recogniser | None
    paint_out: str | None


@dataclass(frozen=True)
class _Tested:
    """One fold.

    Attributes:
        report: its entry in `folds` of the result.
        figures: what was measured, by name.
        scored: what it was measured on.
        training_seconds: next to nothing where a saved recogniser is measured.
    """

    report: dict[str, Any]
    figures: dict[str, Measured]
    scored: Scored
    training_seconds: float


@owner_only()
def crossval(
    config: Config,
    *,
    sources: list[str],
    folds: int = 3,
    out: str | None = None,
    chimeric: bool = False,
    paint_out: str | None = None,
    pretrained: bool = False,
    recogniser: str | None = None,
    report: str | None = None,
) -> dict[str, Any]:
    """Train and measure once for each fold.

    Args:
        config: `training`, `evaluation` and `splits.validation` decide.
        sources: folders or zips; subjects of different sources are different people.
        folds: number of folds; every fold has its share of each source.
        out: a JSON file to write the result to.
        chimeric: pair subjects of different sources at random, `evaluation.chimeric_draws` times.
        paint_out: a `PaintOut` value, painted over in every eye: what it leaves is not the iris.
        pretrained: measure what ships on all subjects; no training.
        recogniser: folder of a saved recogniser, which is measured instead of what ships.
        report: a folder for the performance card and its pictures.

    Returns:
        `folds` and their `mean` (`fold_means`), figures as of `figures.figures`, and `protocol`.

    Raises:
        SourceError: a source can't be read.
        DataError: too few subjects, or nothing to pair.
        ModelError: the recogniser can't be read, or only other code prepares what it needs.
    """
    start = time.monotonic()
    _make_folders(out, report)  # now, not after all the training
    study = _study(config, sources, chimeric, paint_out, FOLDER if pretrained else recogniser)
    tested = _tested(study, _plan(study, folds))
    result = _result(study, tested, start)
    _write(result, study, tested, out, report)
    return result


def _make_folders(out: str | None, report: str | None) -> None:
    for path in (Path(report) if report else None, Path(out).parent if out else None):
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)


def _study(
    config: Config,
    sources: Sequence[str],
    chimeric: bool,
    paint_out: str | None,
    recogniser: str | Path | None,
) -> _Study:
    """Read and prepare everything; what is wrong with the recogniser is said first."""
    known = None if recogniser is None else _loaded(Path(recogniser), config)
    config = config if known is None else with_own_shapes(config, known)
    painted = None if paint_out is None else PaintOut(paint_out)
    prepared = [prepare_source(config, source, painted) for source in sources]
    sets = merged([one.sets for one in prepared], painted=painted is not None)
    mated = chimera.mated_sources(sets) if chimeric else None
    return _Study(prepared, sets, config, mated, _has_common_subject(sets), known, paint_out)


def _tested(study: _Study, plan: Sequence[Fold]) -> list[_Tested]:
    """Train and measure fold by fold."""
    tested = []
    for number, fold in enumerate(plan, start=1):
        begun = time.monotonic()
        model = study.pretrained or _trained(study, fold, number)
        seconds = time.monotonic() - begun
        figures, found = _measure_fold(study, model, fold, number)
        report = {**_counts(fold), **records(figures, found.reasons, study.config)}
        _log.info("fold %d of %d: %s", number, len(plan), _headline(report))
        tested.append(_Tested(report, figures, found, seconds))
    return tested


def _result(study: _Study, tested: Sequence[_Tested], start: float) -> dict[str, Any]:
    reports = [one.report for one in tested]
    reasons = [report["reasons"] for report in reports]
    return {
        "folds": reports,
        "mean": mean_over_folds([one.figures for one in tested], reasons, study.config),
        "protocol": {
            **_protocol(study, reports),
            "paint_out": study.paint_out,
            "painted_refused": sum(one.painted_refused for one in study.prepared),
            "training_seconds": round(sum(one.training_seconds for one in tested), 1),
            "seconds": round(time.monotonic() - start, 1),
        },
    }


def _write(
    result: dict[str, Any],
    study: _Study,
    tested: Sequence[_Tested],
    out: str | None,
    report: str | None,
) -> None:
    if out is not None:
        text = json.dumps(result, indent=2, allow_nan=False)
        atomic_write(Path(out), (text + "\n").encode())
    if report is not None:
        write_report(Path(report), result, _evidence(study, tested), study.config)


def _evidence(study: _Study, tested: Sequence[_Tested]) -> Evidence:
    """The comparisons of all folds; chimeric ones are figures only, nobody's captures."""
    folds = [one.scored for one in tested]
    names = [name for name in folds[0].comparisons if all(name in one.comparisons for one in folds)]
    return Evidence(
        comparisons={name: pooled([one.comparisons[name] for one in folds]) for name in names},
        ranks={
            name: np.concatenate([one.identifications[name].ranks for one in folds])
            for name in names
        },
        sets=study.sets,
    )


def _loaded(folder: Path, config: Config) -> Recogniser:
    recogniser = Recogniser.load(folder)
    if not recogniser.prepares_here:
        raise ModelError(
            f"the model needs captures prepared as {recogniser.preprocess_version}, this code "
            "can't: measure it with the release that trained it"
        )
    if recogniser.subjects:
        raise ModelError(
            f"this recogniser was trained on {len(recogniser.subjects)} people, who may be among "
            "those of the sources: measure it with `biometric evaluate`, on people kept apart"
        )
    return recogniser


def _plan(study: _Study, folds: int) -> list[Fold]:
    subjects = sorted({str(name) for found in study.sets.values() for name in found.subject_id})
    if study.pretrained is not None:
        return [Fold((), (), tuple(subjects))]
    groups: dict[str, list[str]] = {}
    for name in subjects:
        groups.setdefault(chimera.source_of(name), []).append(name)
    config = study.config
    return subject_folds(
        list(groups.values()), folds, config.splits.validation, config.evaluation.seed
    )


def _measure_fold(
    study: _Study, recogniser: Recogniser, fold: Fold, number: int
) -> tuple[dict[str, Measured], Scored]:
    seed = study.config.evaluation.seed + number  # folds are of different people
    section = study.config.evaluation.model_copy(update={"seed": seed})
    config = study.config.model_copy(update={"evaluation": section})
    test = _of(study.sets, fold.test)
    if study.mated is not None:
        test = chimera.of_sources(test, study.mated)
    usable, reasons = usable_sets(recogniser, test)
    encodings = Encodings.of(recogniser, usable)
    galleries = encodings.modality_galleries()
    if study.mated is None and study.fused and usable:
        galleries |= encodings.fused_galleries(recogniser)
    if not study.fused and study.mated is None:
        reasons |= dict.fromkeys(FUSED_NAMES, _NO_COMMON_SUBJECT)
    compared = score_galleries(galleries, reasons)
    found = measure(compared, config)
    if study.mated is not None and len(usable) == len(Modality):
        rounds = chimera.draws(recogniser, encodings, config.evaluation.chimeric_draws, seed)
        found |= measure_rounds(rounds, config)
    return found, compared


def _trained(study: _Study, fold: Fold, number: int) -> Recogniser:
    train, validation = _of(study.sets, fold.train), _of(study.sets, fold.validation)
    if study.mated is not None:
        rng = np.random.default_rng(study.config.evaluation.seed + number)
        train, validation = (chimera.paired(part, study.mated, rng) for part in (train, validation))
    fitted = fit(train, validation, study.config)
    return recogniser_of(fitted, validation, study.config)


def _of(sets: Sets, subjects: Sequence[str]) -> dict[Modality, CaptureSet]:
    chosen = {m: s.select(np.isin(s.subject_id, list(subjects))) for m, s in sets.items()}
    return {modality: captures for modality, captures in chosen.items() if len(captures)}


def _has_common_subject(sets: Sets) -> bool:
    """Whether a subject has mated pairs of every modality that has any."""
    mated = []
    for captures in sets.values():
        _, first, counts = np.unique(captures.identity, return_index=True, return_counts=True)
        if (counts > 1).any():
            mated.append({str(name) for name in captures.subject_id[first[counts > 1]]})
    return not mated or bool(set.intersection(*mated))


def _counts(fold: Fold) -> dict[str, int]:
    return {f"{name}_subjects": len(subjects) for name, subjects in vars(fold).items()}


def _headline(report: Mapping[str, Any]) -> str:
    found = {name: report[name] for name in NAMES if report[name]}
    return ", ".join(f"{name} EER {percent(values['eer'])}" for name, values in found.items())


def _protocol(study: _Study, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    failures: dict[str, Counter[str]] = {}
    for one in study.prepared:
        for modality, reasons in one.failures.items():
            failures.setdefault(modality.value, Counter()).update(reasons)
    config = study.config
    pairing = {
        "draws": config.evaluation.chimeric_draws,
        "chimeric_subjects": [(one["fused"] or {}).get("n_subjects", 0) for one in reports],
    }
    return {
        "folds": len(reports),
        "pretrained": study.pretrained is not None,
        "chimeric": study.mated is not None,
        **(pairing if study.mated is not None else {}),
        "subjects": sum(one["test_subjects"] for one in reports),
        "captures": {modality.value: len(found) for modality, found in study.sets.items()},
        "sources": [_source(one) for one in study.prepared],
        "failures_to_acquire": {name: dict(reasons) for name, reasons in failures.items()},
        "seed": config.evaluation.seed,
        "config_digest": config.digest(),
    }


def _source(one: SourceSets) -> dict[str, Any]:
    """Layout and counts; never a name or path."""
    return {
        "layout": one.layout,
        "subjects": len({str(name) for found in one.sets.values() for name in found.subject_id}),
        "captures": {modality.value: count for modality, count in one.captures.items()},
        "acquired": {modality.value: len(found) for modality, found in one.sets.items()},
        "left_out": dict(one.left_out),
    }
