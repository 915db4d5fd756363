"""The training stage: data of record in, a finished MLflow run with a recogniser out."""

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from biometric_core import provenance
from biometric_core.config import Config
from biometric_core.errors import DataError
from biometric_core.history.changes import Change
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.training_data import (
    Past,
    TrainingData,
    load_training_data,
    training_digest,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from biometric_core.training.outcome import Fitted

_log = logging.getLogger(__name__)
_DIGEST_TAG = "training_digest"
_CURVES = ("loss", "eer", "separation")


@dataclass(frozen=True)
class TrainResult:
    """A finished training run.

    Attributes:
        run_id: the MLflow run.
        data_version: Delta version of the feature table it was trained from.
        epochs: epochs that were run.
        reused: the same data, settings and code had been trained before; nothing was done.
        parameters: numbers in the network.
        subjects: training subjects.
        captures: captures trained on.
        rejected_claims: captures that were left out because their claim was rejected.
        as_of: captures taken before this time took part, ISO 8601.
        seconds: how long this call took.
    """

    run_id: str
    data_version: int
    epochs: int
    reused: bool
    parameters: int
    subjects: int
    captures: int
    rejected_claims: int
    as_of: str
    seconds: float


@owner_only()
def train(
    config: Config,
    *,
    as_of: datetime | None = None,
    like: str | None = None,
    change: Change | None = None,
    force: bool = False,
    resume: bool = True,
) -> TrainResult:
    """Train a recogniser and store it, with all that explains it, as an MLflow run.

    A call that was killed is taken up after its last finished epoch, in the same run; one that
    finished before with the same captures, settings and code is found and returned.

    Args:
        config: the whole configuration goes into the run.
        as_of: only captures taken before this time; all when None.
        like: an earlier run, to train on exactly its data again, whatever has come since.
        change: after drift, what changed: captures of it count `retraining.new_weight` times.
        force: train even if a finished run exists.
        resume: go on from a checkpoint and an unfinished run.

    Raises:
        DataError: too few subjects, or nothing prepared.
        ModelError: the checkpoint is damaged, or training diverged.
        ServiceError: MLflow can't be reached; the checkpoint stays for the next attempt.
    """
    start = time.perf_counter()
    data = load_training_data(
        config, as_of, past_of(config, like) if like is not None else None, change
    )
    info, reused = _found_or_trained(config, data, force, resume)
    return _result(info, data, reused, time.perf_counter() - start)


def past_of(config: Config, run_id: str) -> Past:
    """The data that a training run names in its tags.

    Raises:
        DataError: it is no training run, or captures were prepared otherwise then.
        ModelError: there is no such run.
    """
    tags = runs.get_run(config, run_id).tags
    wanted = preprocess_version(config)
    try:
        found = Past.from_tags(tags)
        prepared = tags["preprocess_version"]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"run {run_id} doesn't name its data ({error}): it is no training run"
        ) from error
    if prepared != wanted:
        raise DataError(
            f"run {run_id} was trained on captures prepared as {prepared}, the configuration "
            f"says {wanted}: set `preprocess` back"
        )
    return found


def _found_or_trained(
    config: Config, data: TrainingData, force: bool, resume: bool
) -> tuple[runs.RunInfo, bool]:
    """The finished run, and whether it was there before."""
    if data.rejected:
        _log.warning("%d captures left out: their claim was rejected", data.rejected)
    digest = training_digest(data, config)
    store = Store.of(config)
    # A second call with the same data waits here, and then finds the run that the first one made.
    with FileLock(store.path("locks", f"training-{digest}.lock"), mode=0o600):
        folder = store.path("checkpoints", digest)
        known = None if force else _find(config, digest, "FINISHED")
        if known is None:
            unfinished = _find(config, digest, "RUNNING", "FAILED", "KILLED") if resume else None
            run_id = _train(config, data, digest, folder, unfinished, resume)
            info = runs.get_run(config, run_id)
        else:
            info = known
            _log.info("run %s was trained on exactly these data: reused", info.run_id)
        shutil.rmtree(folder, ignore_errors=True)  # a call that was killed may have left it
    return info, known is not None


def _find(config: Config, digest: str, *states: str) -> runs.RunInfo | None:
    return runs.find_run(config, tag=_DIGEST_TAG, value=digest, status=states)


def _result(info: runs.RunInfo, data: TrainingData, reused: bool, seconds: float) -> TrainResult:
    return TrainResult(
        run_id=info.run_id,
        data_version=int(info.tags["data_version"]),
        epochs=int(info.metrics["epochs_run"]),
        reused=reused,
        parameters=int(info.metrics["parameters"]),
        subjects=data.subjects,
        captures=data.captures,
        rejected_claims=data.rejected,
        as_of=info.tags["as_of"],
        seconds=round(seconds, 3),
    )


def _train(
    config: Config,
    data: TrainingData,
    digest: str,
    folder: Path,
    unfinished: runs.RunInfo | None,
    resume: bool,
) -> str:
    from biometric_core.training.assembly import recogniser_of
    from biometric_core.training.fit import fit

    _log.info("training on %d captures of %d subjects", data.captures, data.subjects)
    run_id = unfinished.run_id if unfinished else None
    tags = _tags(config, data, digest)
    with runs.run(config, name=f"train-{digest[:8]}", tags=tags, run_id=run_id) as run:
        run.log_params(_params(config, data))
        run.log_text(provenance.resolved_yaml(config), "config.yaml")
        run.log_text(json.dumps(provenance.environment(), indent=1), "environment.json")
        fitted = fit(
            data.train,
            data.validation,
            config,
            checkpoint_dir=folder,
            resume=resume,
            on_epoch=lambda epoch, metrics: run.log_metrics(metrics, epoch),
        )
        _log_fitted(run, fitted)
        run.log_metrics({"rejected_claims": data.rejected})
        with TemporaryDirectory(prefix="biometric-") as scratch:
            recogniser = recogniser_of(fitted, data.validation, config)
            recogniser.save(Path(scratch))
            run.log_artifacts(Path(scratch), runs.RECOGNISER)
    return run.run_id


def _log_fitted(run: runs.Run, fitted: "Fitted") -> None:
    # Killed between the checkpoint and the log of an epoch: that epoch is logged now.
    logged = run.steps("loss")
    for epoch, metrics in enumerate(fitted.history, start=1):
        if epoch not in logged:
            run.log_metrics(metrics, epoch)
    numbers = sum(tensor.numel() for tensor in fitted.state.values())
    best = {f"best_{k}": v for k, v in fitted.history[fitted.best_epoch - 1].items()}
    counts = {"epochs_run": fitted.epochs_run, "best_epoch": fitted.best_epoch}
    run.log_metrics({**best, **counts, "parameters": numbers})
    run.log_text(json.dumps(fitted.history, indent=1), "history.json")
    run.log_figure(curves(fitted.history, fitted.best_epoch), "curves.png")


def _tags(config: Config, data: TrainingData, digest: str) -> dict[str, str]:
    commit = provenance.git_commit()
    tags = {
        runs.KIND: "training",
        _DIGEST_TAG: digest,
        "data_version": str(data.features_version),
        "captures_version": str(data.captures_version),
        "as_of": data.as_of.isoformat(),
        "preprocess_version": preprocess_version(config),
        "config_digest": config.digest(),
    }
    if data.probes_version is not None:
        tags["probes_version"] = str(data.probes_version)
    tags |= data.emphasis.tags() if data.emphasis else {}
    return tags | ({"git_commit": commit, "mlflow.source.git.commit": commit} if commit else {})


def _params(config: Config, data: TrainingData) -> dict[str, Any]:
    params: dict[str, Any] = {"config.digest": config.digest(), "data.subjects": data.subjects}
    for role, sets in (("train", data.train), ("validation", data.validation)):
        for modality, found in sets.items():
            params[f"data.{role}.{modality}.captures"] = len(found)
            params[f"data.{role}.{modality}.identities"] = len(np.unique(found.identity))
    return params | runs.flattened(config)


def curves(history: list[Mapping[str, float]] | list[dict[str, float]], best: int) -> "Figure":
    """Loss, validation EER and separation over the epochs, one panel each; the best one marked."""
    from matplotlib.figure import Figure

    panels = [kind for kind in _CURVES if any(name.startswith(kind) for name in history[0])]
    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, kind in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in (n for n in history[0] if n.startswith(kind)):
            axes.plot(epochs, [row.get(name, np.nan) for row in history], label=name, marker=".")
        axes.axvline(best, color="grey", linestyle=":", label="best epoch")
        axes.set(xlabel="epoch", title=kind)
        axes.legend(fontsize=7)
    return figure
