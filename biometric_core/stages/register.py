"""A trained run becomes a version in the registry, the challenger."""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.promotion.switch import decision_on
from biometric_core.storage.private import owner_only, tighten
from biometric_core.tracking import bundle, runs
from biometric_core.tracking.client import mlflow_client
from biometric_core.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    Version,
    create_version,
    delete_version,
    drop_alias,
    get,
    set_alias,
    version_of_run,
)

_log = logging.getLogger(__name__)

_METRIC_TAGS = re.compile(r"((iris|fingerprint|fused)_(eer|fnmr_at_fmr_.*|rank1)|latency_p.*)")
_BOUNDS = ("_low", "_high")
_RUN_TAGS = (
    "as_of",
    "training_digest",
    "preprocess_version",
    "data_version",
    "captures_version",
    "probes_version",
    "git_commit",
)


@dataclass(frozen=True)
class RegisterResult:
    """A registered version; `reused` where the run had been registered before."""

    name: str
    version: str
    run_id: str
    reused: bool


@owner_only()
def register(config: Config, *, run_id: str) -> RegisterResult:
    """Make a bundle of a training run's recogniser and register it as challenger.

    Safe to repeat: a run has one version, and half-uploaded files are uploaded again. A version
    that is champion or has been decided on is found again, and is no challenger.

    Raises:
        ModelError: the run is unknown or has no recogniser.
        ServiceError: MLflow can't be reached.
    """
    known = version_of_run(config, run_id)
    version = known or _first(config, run_id, _create(config, run_id))
    if _is_decided(config, version):
        drop_alias(config, CHALLENGER, version.version)
    else:
        set_alias(config, CHALLENGER, version.version)
    _log.info("run %s is version %s of the model", run_id, version.version)
    reused = known is not None
    return RegisterResult(config.mlflow.model_name, version.version, run_id, reused)


def _first(config: Config, run_id: str, made: Version) -> Version:
    """The run's version; another one where somebody else registered the run at the same time."""
    first = version_of_run(config, run_id) or made
    if first.version != made.version:
        delete_version(config, made.version)
    return first


def _is_decided(config: Config, version: Version) -> bool:
    champion = get(config, CHAMPION)
    if champion is not None and champion.version == version.version:
        return True
    return decision_on(config, version.version) is not None


def _create(config: Config, run_id: str) -> Version:
    recogniser = runs.download_recogniser(config, run_id)
    with TemporaryDirectory(prefix="biometric-") as scratch:
        # A copy of its own: MLflow keeps the folder's name, and removes what it made on failure.
        own = Path(scratch) / runs.RECOGNISER
        with mlflow_client(config, "write the model bundle"):
            shutil.copytree(recogniser, own)
            bundle.write(own, Path(scratch) / bundle.FOLDER)
        card = _model_card(config, run_id)
        if card is not None:
            (Path(scratch) / bundle.FOLDER / bundle.MODEL_CARD).write_text(card, "utf-8")
        tighten(Path(scratch))  # MLflow keeps the modes of what it copies
        runs.Run(config, run_id).log_artifacts(Path(scratch) / bundle.FOLDER, bundle.FOLDER)
    return create_version(config, run_id, _tags(runs.get_run(config, run_id)))


def _model_card(config: Config, run_id: str) -> str | None:
    """The model card that the run's evaluation wrote; None where it was not evaluated."""
    try:
        return (runs.download(config, run_id, runs.EVALUATION) / bundle.MODEL_CARD).read_text(
            "utf-8"
        )
    except (ModelError, FileNotFoundError):
        return None


def _tags(info: runs.RunInfo) -> dict[str, str]:
    tags = {name: value for name, value in info.tags.items() if name in _RUN_TAGS}
    for name, value in info.metrics.items():
        if _METRIC_TAGS.fullmatch(name) and not name.endswith(_BOUNDS):
            tags[name] = f"{value:.6g}"
    return {"training_run": info.run_id, **tags}
