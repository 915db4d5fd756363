"""Cross-validation by subject: figures of the whole method on data sets, without the store."""

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
from biometric_core.evaluation.report import Evidence, write_report
from biometric_core.imaging.iris.paint_out import PaintOut
from biometric_core.matching.bootstrap import mean_of
from biometric_core.matching.comparisons import pooled
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.recogniser import require_preprocessing
from biometric_core.schemas import Modality
from biometric_core.storage.files import atomic_write
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
        sets: captures of all sources.
        config: how to train and measure.
        mated: sources with mated pairs by modality, where subjects are paired; else None.
        fused: whether some subject has mated pairs of all modalities that have any.
        pretrained: what is measured instead of training.
    """

    sets: Sets
    config: Config
    mated: chimera.Mated | None
    fused: bool
    pretrained: Recogniser | None


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

    Nothing of a fold's test subjects is used in its training, early stopping or calibration.

    Args:
        config: `training` and `evaluation` decide; `splits.validation` is the share of a fold's
            training subjects that is held out for early stopping and calibration.
        sources: folders or zips; subjects of different sources are different people.
        folds: number of folds; every fold has its share of each source.
        out: a JSON file to write the result to.
        chimeric: pair subjects of different sources at random, `evaluation.chimeric_draws` times.
        paint_out: a `PaintOut` value: paint it over in every eye. What is still recognised is not
            the iris.
        pretrained: measure what ships on all subjects; no training.
        recogniser: folder of a saved recogniser, which is measured instead of what ships.
        report: a folder for the performance card and its pictures.

    Returns:
        `folds`, a list, and `mean`: each has figures as `figures.figures` describes them. In
        `mean`, rates are means over the folds, their intervals come from resampling subjects within
        each fold, and numbers of comparisons and subjects are totals. Chimeric figures are of all
        draws pooled, with their spread over the draws in `draws`. `protocol` says how it was done.

    Raises:
        SourceError: a source can't be read.
        DataError: too few subjects, or nothing to pair.
        ModelError: the recogniser can't be read or needs another preprocessing.
    """
    start = time.monotonic()
    for path in (Path(report) if report else None, Path(out).parent if out else None):
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)  # now, not after all the training
    folder = FOLDER if pretrained else recogniser
    known = None if folder is None else _loaded(Path(folder), config)
    painted = None if paint_out is None else PaintOut(paint_out)
    prepared = [prepare_source(config, source, painted) for source in sources]
    sets = merged([one.sets for one in prepared])
    mated = chimera.mated_sources(sets) if chimeric else None
    study = _Study(sets, config, mated, _has_common_subject(sets), known)
    plan = _plan(study, folds)
    measured, reports, seen = [], [], []
    training = 0.0
    for number, fold in enumerate(plan, start=1):
        begun = time.monotonic()
        model = study.pretrained or _trained(study, fold, number)
        training += time.monotonic() - begun
        figures, found = _measure_fold(study, model, fold, number)
        measured.append(figures)
        seen.append(found)
        reports.append({**_counts(fold), **records(figures, found.reasons, config)})
        _log.info("fold %d of %d: %s", number, len(plan), _headline(reports[-1]))
    result = {
        "folds": reports,
        "mean": _mean(measured, [report["reasons"] for report in reports], config),
        "protocol": {
            **_protocol(study, reports, prepared),
            "paint_out": paint_out,
            "painted_refused": sum(one.painted_refused for one in prepared),
            "training_seconds": round(training, 1),
            "seconds": round(time.monotonic() - start, 1),
        },
    }
    if out is not None:
        text = json.dumps(result, indent=2, allow_nan=False)
        atomic_write(Path(out), (text + "\n").encode())
    if report is not None:
        write_report(Path(report), result, _evidence(study, seen), config)
    return result


def _evidence(study: _Study, folds: Sequence[Scored]) -> Evidence:
    """The comparisons of all folds; chimeric ones are figures only, nobody's captures."""
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
    require_preprocessing(recogniser, config)
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
    return ", ".join(f"{name} EER {100 * values['eer']:.2f} %" for name, values in found.items())


def _protocol(
    study: _Study, reports: Sequence[Mapping[str, Any]], prepared: Sequence[SourceSets]
) -> dict[str, Any]:
    failures: dict[str, Counter[str]] = {}
    for one in prepared:
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
        "sources": [_source(one) for one in prepared],
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
    }


def _mean(
    measured: Sequence[Mapping[str, Measured]], reasons: Sequence[Mapping[str, str]], config: Config
) -> dict[str, Any]:
    """The mean over the folds; None for a name that some fold could not measure."""
    why: dict[str, str] = {}
    for fold in reasons:
        why = {**fold, **why}
    names = dict.fromkeys(name for figures in measured for name in figures)
    means = {}
    for name in names:
        parts = [figures[name] for figures in measured if name in figures]
        if len(parts) == len(measured):
            means[name] = _mean_of_name(parts)
        else:
            why.setdefault(name, "not in every fold")
    return records(means, why, config)


def _mean_of_name(parts: Sequence[Measured]) -> Measured:
    plain: dict[str, float | int | None] = {}
    for name in parts[0].plain:
        values = [value for part in parts if (value := part.plain[name]) is not None]
        if len(values) < len(parts):
            plain[name] = None
        else:
            plain[name] = sum(values) if name.startswith("n_") else float(np.mean(values))
    rates = {name: mean_of([part.rates[name] for part in parts]) for name in parts[0].rates}
    drawn = [name for name in parts[0].draws if all(name in part.draws for part in parts)]
    draws = {name: np.mean([part.draws[name] for part in parts], axis=0) for name in drawn}
    return Measured(rates, plain, draws)
