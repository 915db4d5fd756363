"""Honest figures of a recogniser: on subjects it was never trained on, with intervals."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from biometric_core import metrics, plots
from biometric_core.closed_set import as_metrics, closed_set_figures
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet, load_captures
from biometric_core.errors import CaptureRefused, DataError, FailureToAcquire
from biometric_core.figures import Scored, figures, scored
from biometric_core.recogniser import Recogniser, require_preprocessing
from biometric_core.release import check_release
from biometric_core.schemas import Modality, Split
from biometric_core.splits import reserved
from biometric_core.store import Store, atomic_write
from biometric_core.tracking import runs

_LATENCY_CAPTURES = 24


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` found.

    Attributes:
        metrics: figures by name as `figures.figures` gives them, `closed_set` and `latency`.
        release_ok: every release threshold holds.
        release_reasons: a line for each threshold that failed or could not be asked.
        plots: paths of the pictures.
    """

    metrics: dict[str, Any]
    release_ok: bool
    release_reasons: list[str]
    plots: list[str]


def evaluate(config: Config, *, run_id: str, as_of: datetime | None = None) -> EvaluateResult:
    """Evaluate the recogniser of a training run on the test subjects, and log it to that run.

    Args:
        config: `evaluation` and `release` decide.
        run_id: the MLflow run of `train`.
        as_of: only captures taken before; all when None.

    Raises:
        DataError: there are no captures of test subjects.
        ModelError: the run has no usable recogniser, or it needs another preprocessing.
    """
    recogniser = Recogniser.load(runs.download_recogniser(config, run_id))
    require_preprocessing(recogniser, config)
    store = Store.of(config)
    sets = load_captures(store, config, as_of=as_of)
    trained = list(recogniser.subjects)
    test = {
        m: s.select((s.split == Split.TEST) & ~np.isin(s.subject_id, trained))
        for m, s in sets.items()
    }
    test = {modality: captures for modality, captures in test.items() if len(captures)}
    if not test:
        raise DataError("no captures of test subjects: ingest more people, or raise splits.test")
    found = scored(recogniser, test)
    closed = closed_set_figures(recogniser, {m: s.select(reserved(s)) for m, s in sets.items()})
    values = {
        **figures(found, config),
        "closed_set": as_metrics(closed) if closed else None,
        "latency": latency(recogniser, store, test),
    }
    if closed is None:
        values["reasons"]["closed_set"] = "no training subject has captures kept out of training"
    folder = store.path("evaluation", run_id)
    drawn = _draw(found, closed, folder)
    return _log(config, run_id, values, drawn, folder)


def _log(
    config: Config, run_id: str, values: dict[str, Any], drawn: list[Path], folder: Path
) -> EvaluateResult:
    release_ok, reasons = check_release(values, config.release)
    record = {"run_id": run_id, **values, "release": {"ok": release_ok, "reasons": reasons}}
    text = json.dumps(record, indent=2, allow_nan=False)
    atomic_write(folder / "evaluation.json", text.encode())
    flat = {**flattened(values), "release_ok": float(release_ok)}
    runs.log_evaluation(config, run_id, flat, [folder / "evaluation.json", *drawn])
    return EvaluateResult(values, release_ok, reasons, [str(path) for path in drawn])


def flattened(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics for MLflow: `iris_eer`, `iris_eer_low`, `closed_set_accuracy`, `latency_p50_ms`."""
    flat = {}
    for name, group in values.items():
        if name == "reasons" or group is None:
            continue
        for figure, value in group.items():
            if isinstance(value, int | float):
                flat[f"{name}_{figure}"] = float(value)
        for figure, bounds in group.get("intervals", {}).items():
            if bounds is not None:
                flat[f"{name}_{figure}_low"], flat[f"{name}_{figure}_high"] = bounds
    return flat


def _draw(found: Scored, closed: metrics.ClosedSetFigures | None, folder: Path) -> list[Path]:
    ranks = {name: one.ranks for name, one in found.identifications.items()}
    drawn = [
        plots.det(found.comparisons, folder / "det.png"),
        plots.cumulative_match(ranks, folder / "cmc.png"),
    ]
    drawn += [
        plots.score_distributions(name, comparisons, folder / f"scores_{name}.png")
        for name, comparisons in found.comparisons.items()
    ]
    if closed is not None:
        drawn.append(plots.confusion(closed.confusion, folder / "confusion.png"))
    return [path for path in drawn if path is not None]


def latency(
    recogniser: Recogniser, store: Store, sets: Mapping[Modality, CaptureSet]
) -> dict[str, float] | None:
    """Milliseconds from an image file's bytes to its embedding, one capture at a time.

    Args:
        recogniser: what is timed.
        store: where the files are.
        sets: captures; a few of each modality that the recogniser knows are taken.

    Returns:
        `p50_ms`, `p95_ms` and `captures`; None where there is nothing to time.
    """
    chosen = [
        (modality, str(capture_id))
        for modality, captures in sets.items()
        if modality in recogniser.modalities
        for capture_id in captures.capture_id[:_LATENCY_CAPTURES]
    ]
    ids = [capture_id for _, capture_id in chosen]
    rows = store.read("captures", ["capture_id", "uri"], pc.field("capture_id").isin(ids))
    uris = dict(zip(rows["capture_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    seconds = []
    for modality, capture_id in chosen:
        path = store.root / (uris[capture_id] or "")
        if path.is_file():  # images may be deleted while what was prepared from them is kept
            data = path.read_bytes()
            start = time.perf_counter()
            _embed_one(recogniser, data, modality)
            seconds.append(time.perf_counter() - start)
    if len(seconds) < 2:
        return None
    p50, p95 = np.quantile(seconds[1:], [0.5, 0.95]) * 1000  # the first one warms up
    return {"p50_ms": float(p50), "p95_ms": float(p95), "captures": len(seconds) - 1}


def _embed_one(recogniser: Recogniser, data: bytes, modality: Modality) -> None:
    try:
        sample = recogniser.acquire(data, modality)
    except (CaptureRefused, FailureToAcquire):
        return
    recogniser.embed(modality, sample.image[np.newaxis], sample.mask[np.newaxis])
