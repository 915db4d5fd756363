"""Honest figures of a recogniser: on subjects it was never trained on, with intervals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, Sets, load_captures
from biometric_core.data.same_pixels import first_of_each_image
from biometric_core.data.splits import reserved
from biometric_core.errors import DataError
from biometric_core.evaluation.cards import ModelFacts, model_card
from biometric_core.evaluation.closed_set import as_metrics, closed_set_figures
from biometric_core.evaluation.failure_to_acquire import failures_to_acquire
from biometric_core.evaluation.figures import figures, scored
from biometric_core.evaluation.latency import latency
from biometric_core.evaluation.report import Evidence, Written, facts_of, write_report
from biometric_core.promotion.release import check_release
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality, Split, utc
from biometric_core.storage.files import atomic_write, writable
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import bundle, runs
from biometric_core.training.training_data import Past


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` found.

    Attributes:
        metrics: figures by name as `figures.figures` gives them, `closed_set`, `latency` and `fta`.
        release_ok: every release threshold holds.
        release_reasons: a line for each threshold that failed or could not be asked.
        plots: paths of the pictures.
        cards: paths of the performance card (Markdown, HTML) and the model card.
    """

    metrics: dict[str, Any]
    release_ok: bool
    release_reasons: list[str]
    plots: list[str]
    cards: list[str]


@owner_only()
def evaluate(config: Config, *, run_id: str, as_of: datetime | None = None) -> EvaluateResult:
    """Evaluate the recogniser of a training run on the test subjects, and log it to that run.

    All is measured at the run's versions of the tables: later ones would move the line between what
    was trained on and what was kept out.

    Args:
        config: `evaluation` and `release` decide.
        run_id: the MLflow run of `train`.
        as_of: of the test subjects only captures taken before; all of the run's when None.

    Raises:
        DataError: no captures of test subjects, or the run's versions of the tables are gone.
        ModelError: the run has no usable recogniser.
    """
    recogniser = Recogniser.load(runs.download_recogniser(config, run_id))
    store, data = Store.of(config), _data_of(config, run_id)
    sets = _captures_of(store, config, run_id, data, recogniser.preprocess_version)
    end = data.as_of if as_of is None else min(utc(as_of), utc(data.as_of))
    test = _test_sets(sets, list(recogniser.subjects), end)
    found = scored(recogniser, test)
    closed = closed_set_figures(recogniser, {m: s.select(reserved(s)) for m, s in sets.items()})
    values = {
        **figures(found, config),
        "closed_set": as_metrics(closed) if closed else None,
        "latency": latency(recogniser, store, test),
        "fta": _failures(store, config, recogniser, data, end),
    }
    if closed is None:
        values["reasons"]["closed_set"] = "no training subject has captures kept out of training"
    ranks = {name: one.ranks for name, one in found.identifications.items()}
    confusion = closed.confusion if closed else None
    evidence = Evidence(found.comparisons, ranks, test, confusion)
    release_ok, why = check_release(values, config.release)
    record = {"run_id": run_id, **values, "release": {"ok": release_ok, "reasons": why}}
    written = log_evaluation(config, run_id, record, evidence, recogniser)
    drawn, cards = ([str(path) for path in paths] for paths in (written.pictures, written.cards))
    return EvaluateResult(values, release_ok, why, drawn, cards)


def _failures(
    store: Store, config: Config, recogniser: Recogniser, data: Past, end: datetime
) -> dict[str, dict[str, Any] | None]:
    return failures_to_acquire(
        store,
        config,
        trained=list(recogniser.subjects),
        as_of=end,
        version=data.features,
        captures_version=data.captures,
        prepared_by=recogniser.preprocess_version,
    )


def _data_of(config: Config, run_id: str) -> Past:
    try:
        return Past.from_tags(runs.get_run(config, run_id).tags)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"run {run_id} doesn't name its data ({error}): it is no training run"
        ) from error


def _captures_of(store: Store, config: Config, run_id: str, data: Past, own: str) -> Sets:
    """What the run was made from, with the captures of test subjects, prepared as it needs."""
    versions = {"version": data.features, "captures_version": data.captures}
    try:
        return load_captures(store, config, as_of=data.as_of, prepared_by=own, **versions)
    except DataError as error:
        raise DataError(
            f"run {run_id} can't be measured on its own captures: {error}; train again, and "
            "evaluate that run"
        ) from error


def _test_sets(sets: Sets, trained: list[str], end: datetime) -> dict[Modality, CaptureSet]:
    """The captures of test subjects, less those of subjects that were trained on all the same."""
    last = np.datetime64(utc(end).replace(tzinfo=None), "us")
    chosen = {}
    for modality, captures in sets.items():
        test = (captures.split == Split.TEST) & (captures.captured_at < last)
        chosen[modality] = captures.select(test & ~np.isin(captures.subject_id, trained))
    test = {m: s.select(first_of_each_image(s)) for m, s in chosen.items() if len(s)}
    if not test:
        raise DataError("no captures of test subjects: ingest more people, or raise splits.test")
    return test


def log_evaluation(
    config: Config,
    run_id: str,
    record: Mapping[str, Any],
    evidence: Evidence,
    recogniser: Recogniser,
) -> Written:
    """Write `evaluation/<run id>/` under the storage root, and log it to the training run.

    Args:
        config: names store and MLflow.
        run_id: the training run.
        record: what `evaluate` found, with `release` (`ok` and `reasons`).
        evidence: what it was measured on.
        recogniser: what was measured.

    Returns:
        The record as it is in `evaluation.json`, and the paths of pictures and cards.
    """
    store = Store.of(config)
    folder = store.path("evaluation", run_id, "evaluation.json").parent
    run = runs.get_run(config, run_id)
    facts = _facts(run, recogniser)
    card = folder / bundle.MODEL_CARD
    with writable(store.root):
        written = write_report(folder, record, evidence, config, facts)
        text = json.dumps(written.values, indent=2, allow_nan=False)
        atomic_write(folder / "evaluation.json", text.encode())
        atomic_write(card, _model_card(config, run, written.values, recogniser, facts).encode())
    written = replace(written, cards=[*written.cards, card])
    metrics = {**flattened(written.values), "release_ok": float(record["release"]["ok"])}
    files = [folder / "evaluation.json", *written.pictures, *written.cards]
    runs.log_evaluation(config, run_id, metrics, files)
    return written


def _facts(run: runs.RunInfo, recogniser: Recogniser) -> dict[str, str | None]:
    """What was measured with what, for the cards."""
    names = {"data_version": "features", "captures_version": "captures"}
    data = {
        f"trained and measured on, version of {t}": run.tags.get(tag) for tag, t in names.items()
    }
    return {
        "model": f"run {run.run_id}",
        "training digest": run.tags.get("training_digest"),
        "preprocessing version": recogniser.preprocess_version,
        **data,
        "captures taken before": run.tags.get("as_of"),
    }


def _model_card(
    config: Config,
    run: runs.RunInfo,
    values: Mapping[str, Any],
    recogniser: Recogniser,
    facts: Mapping[str, str | None],
) -> str:
    params = run.params
    counts = {
        name.removeprefix("data.").replace(".", ", "): value
        for name, value in params.items()
        if name.startswith("data.")
    }
    made = {
        "modalities": ", ".join(recogniser.modalities),
        "numbers in the network": f"{sum(p.numel() for p in recogniser.net.parameters()):,}",
        "head": params.get("training.head"),
        "feature fusion": params.get("training.fusion"),
        "licence": "that of the code; that of your captures holds beside it",
    }
    details = {**made, **facts_of(config), **facts}
    return model_card(values, ModelFacts(details, counts, recogniser.thresholds, run.run_id))


def flattened(values: Mapping[str, Any]) -> dict[str, float]:
    """Metrics for MLflow: `iris_eer`, `iris_eer_low`, `closed_set_accuracy`, `latency_p50_ms`.

    Of groups only the rates: `groups_iris_position_left_eer`.
    """
    flat: dict[str, float] = {}
    for label, group in {**values, **values.get("combinations", {})}.items():
        name = label.replace("+", "_and_")  # MLflow takes no plus sign
        if name in ("reasons", "release") or not isinstance(group, Mapping):
            continue
        if name in ("groups", "fta", "quality"):
            flat |= _nested(name, group)
            continue
        for figure, value in group.items():
            if isinstance(value, int | float):
                flat[f"{name}_{figure}"] = float(value)
        for figure, bounds in group.get("intervals", {}).items():
            if bounds is not None:
                flat[f"{name}_{figure}_low"], flat[f"{name}_{figure}_high"] = bounds
    return flat


def _nested(prefix: str, group: Mapping[str, Any]) -> dict[str, float]:
    """The rates (floats) at any depth, under names joined by `_`."""
    flat: dict[str, float] = {}
    for name, value in group.items():
        if isinstance(value, Mapping):
            flat |= _nested(f"{prefix}_{name}", value)
        elif isinstance(value, float):
            flat[f"{prefix}_{name}"] = value
    return flat
