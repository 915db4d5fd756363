"""Cross-validation by subject: figures of the whole method on a data set, without the store."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.bootstrap import mean_of
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet
from biometric_core.errors import DataError
from biometric_core.evaluate import NAMES, Measured, measure, records, scored
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.source_sets import capture_sets_from_source
from biometric_core.store import atomic_write
from biometric_core.train import fit

Sets = Mapping[Modality, CaptureSet]
_log = logging.getLogger(__name__)
_MIN_VALIDATION_SUBJECTS = 2


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold; the three are disjoint.

    Attributes:
        train: fitted on.
        validation: training subjects held out for early stopping and calibration.
        test: measured on.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def subject_folds(
    subjects: Sequence[str], folds: int, validation_share: float, seed: int
) -> list[Fold]:
    """Divide subjects; each is tested in exactly one fold.

    Args:
        subjects: in any order; the result depends on the set only.
        folds: at least 2.
        validation_share: of a fold's training subjects, at least two of them.
        seed: of the division.

    Raises:
        DataError: too few subjects for so many folds.
    """
    names = sorted(set(subjects))
    if folds < 2 or len(names) < 2 * folds:
        raise DataError(
            f"{len(names)} subjects for {folds} folds: at least 2 folds of 2 subjects are needed"
        )
    mixed = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts = [tuple(mixed[number::folds]) for number in range(folds)]
    result = []
    for number, test in enumerate(parts):
        rest = [name for other, part in enumerate(parts) if other != number for name in part]
        held = max(_MIN_VALIDATION_SUBJECTS, round(validation_share * len(rest)))
        held = min(held, len(rest) - 1)
        result.append(Fold(tuple(rest[held:]), tuple(rest[:held]), test))
    return result


def crossval(
    config: Config, *, sources: list[str], folds: int = 3, out: str | None = None
) -> dict[str, Any]:
    """Train and measure once for each fold.

    Nothing of a fold's test subjects is used in its training, early stopping or calibration.

    Args:
        config: `training` and `evaluation` decide; `splits.validation` is the share of a fold's
            training subjects that is held out for early stopping and calibration.
        sources: folders or zips; subjects of different sources are different people.
        folds: number of folds.
        out: a JSON file to write the result to.

    Returns:
        `folds`, a list, and `mean`: each has `iris`, `fingerprint`, `fused` and `fused_feature` as
        `evaluate.figures` describes them, and `reasons` for what is None. In `mean`, rates are
        means over the folds, their intervals come from resampling subjects within each fold, and
        numbers of comparisons and subjects are totals. `protocol` says how it was done.

    Raises:
        SourceError: a source can't be read.
        DataError: too few subjects.
    """
    start = time.monotonic()
    sets = _merged([capture_sets_from_source(config, source) for source in sources])
    subjects = sorted({str(name) for found in sets.values() for name in found.subject_id})
    plan = subject_folds(subjects, folds, config.splits.validation, config.evaluation.seed)
    measured, reports = [], []
    for number, fold in enumerate(plan, start=1):
        figures, reasons = _run_fold(sets, fold, config)
        measured.append(figures)
        reports.append({**_counts(fold), **records(figures, reasons, config)})
        _log.info("fold %d of %d: %s", number, folds, _headline(reports[-1]))
    result = {
        "folds": reports,
        "mean": _mean(measured, [report["reasons"] for report in reports], config),
        "protocol": {
            "folds": folds,
            "subjects": len(subjects),
            "captures": {modality.value: len(found) for modality, found in sets.items()},
            "seed": config.evaluation.seed,
            "config_digest": config.digest(),
            "seconds": round(time.monotonic() - start, 1),
        },
    }
    if out is not None:
        text = json.dumps(result, indent=2, allow_nan=False)
        atomic_write(Path(out), (text + "\n").encode())
    return result


def _run_fold(
    sets: Sets, fold: Fold, config: Config
) -> tuple[dict[str, Measured], Mapping[str, str]]:
    validation = _of(sets, fold.validation)
    fitted = fit(_of(sets, fold.train), validation, config)
    recogniser = Recogniser.from_fitted(fitted, validation, config)
    found = scored(recogniser, _of(sets, fold.test))
    return measure(found, config), found.reasons


def _of(sets: Sets, subjects: Sequence[str]) -> dict[Modality, CaptureSet]:
    chosen = {m: s.select(np.isin(s.subject_id, list(subjects))) for m, s in sets.items()}
    return {modality: captures for modality, captures in chosen.items() if len(captures)}


def _counts(fold: Fold) -> dict[str, int]:
    return {f"{name}_subjects": len(subjects) for name, subjects in vars(fold).items()}


def _headline(report: Mapping[str, Any]) -> str:
    found = {name: report[name] for name in NAMES if report[name]}
    return ", ".join(f"{name} EER {100 * values['eer']:.2f} %" for name, values in found.items())


def _mean(
    measured: Sequence[Mapping[str, Measured]], reasons: Sequence[Mapping[str, str]], config: Config
) -> dict[str, Any]:
    """The mean over the folds; None for a name that some fold could not measure."""
    common = [name for name in NAMES if all(name in figures for figures in measured)]
    means = {name: _mean_of_name([figures[name] for figures in measured]) for name in common}
    why: dict[str, str] = {}
    for fold in reasons:
        why = {**fold, **why}
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
    return Measured(rates, plain)


def _merged(sources: Sequence[Sets]) -> dict[Modality, CaptureSet]:
    """The captures of all sources; an image that occurs in several counts once."""
    if len(sources) == 1:
        return dict(sources[0])
    merged = {}
    for modality in Modality:
        parts = list(_named_apart(sources, modality))
        if parts:
            columns: dict[str, npt.NDArray[Any]] = {
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in vars(parts[0])
                if name != "modality"
            }
            _, unique = np.unique(columns["capture_id"], return_index=True)
            merged[modality] = CaptureSet(modality, **columns).select(unique)
    return merged


def _named_apart(sources: Sequence[Sets], modality: Modality) -> Iterator[CaptureSet]:
    for number, sets in enumerate(sources):
        if modality in sets:
            names = [f"{number}:{name}" for name in sets[modality].subject_id]
            yield replace(sets[modality], subject_id=np.array(names, dtype=np.str_))
