"""An evaluation as files and in MLflow: figures, pictures, performance card and model card."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from biometric_core.config import Config
from biometric_core.evaluation.cards import ModelFacts, model_card
from biometric_core.evaluation.report import Evidence, Written, facts_of, write_report
from biometric_core.recogniser import Recogniser
from biometric_core.storage.files import atomic_write, writable
from biometric_core.storage.store import Store
from biometric_core.tracking import bundle, runs


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
    facts = _facts(store, run)
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


def _facts(store: Store, run: runs.RunInfo) -> dict[str, str | None]:
    """What was measured with what, for the cards."""
    names = {"data_version": "features", "captures_version": "captures"}
    trained = {f"trained on, version of {t}": run.tags.get(tag) for tag, t in names.items()}
    now = {t: store.version(t) for t in names.values()}
    measured = {f"measured on, version of {t}": str(found) for t, found in now.items()}
    digest = {"training digest": run.tags.get("training_digest")}
    return {"model": f"run {run.run_id}", **digest, **trained, **measured}


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
