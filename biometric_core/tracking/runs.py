"""Runs: parameters, metrics, artifacts and tags of one training or one report."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biometric_core.config import UNRECORDED, Config
from biometric_core.errors import BiometricError, ModelError, ServiceError
from biometric_core.storage.store import Store
from biometric_core.tracking.client import artifact_location, mlflow_client

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_log = logging.getLogger(__name__)
_BATCH = 100  # MLflow takes at most 100 parameters and 1000 metrics in one request
_MAX_VALUE = 500
RECOGNISER = "recogniser"
EVALUATION = "evaluation"
KIND = "kind"


@dataclass(frozen=True)
class RunInfo:
    """A run as it is stored.

    Attributes:
        run_id: its id in MLflow.
        status: RUNNING, FINISHED, FAILED or KILLED.
        metrics: the latest value of each metric.
        params: parameters by dotted name.
        tags: tags by name.
    """

    run_id: str
    status: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A run that is being written."""

    config: Config
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add parameters; one that the run already has keeps its value, as MLflow demands."""
        known = get_run(self.config, self.run_id).params
        new = [(name, str(value)) for name, value in params.items() if name not in known]
        with mlflow_client(self.config, "log parameters") as client:
            from mlflow.entities import Param

            for start in range(0, len(new), _BATCH):
                chunk = [Param(k, v[:_MAX_VALUE]) for k, v in new[start : start + _BATCH]]
                client.log_batch(self.run_id, params=chunk)

    def log_metrics(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log the numbers among `metrics`; what is no finite number is left out."""
        with mlflow_client(self.config, "log metrics") as client:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            chunk = [Metric(name, value, now, step) for name, value in numbers(metrics).items()]
            client.log_batch(self.run_id, metrics=chunk)

    def log_artifacts(self, directory: Path, name: str = "") -> None:
        """Copy the files of a folder into the run, under `name`."""
        with mlflow_client(self.config, "store artifacts") as client:
            client.log_artifacts(self.run_id, str(directory), name or None)

    def log_files(self, files: Iterable[Path], name: str = "") -> None:
        """Copy single files into the run, under the folder `name`."""
        with mlflow_client(self.config, "store artifacts") as client:
            for file in files:
                client.log_artifact(self.run_id, str(file), name or None)

    def log_text(self, text: str, name: str) -> None:
        """Store a text as the artifact `name`."""
        with mlflow_client(self.config, "store artifacts") as client:
            client.log_text(self.run_id, text, name)

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Store a matplotlib figure as the picture `name`."""
        with mlflow_client(self.config, "store artifacts") as client:
            client.log_figure(self.run_id, figure, name)

    def steps(self, metric: str) -> set[int]:
        """The steps at which a metric has been logged."""
        with mlflow_client(self.config, "read metrics") as client:
            return {entry.step for entry in client.get_metric_history(self.run_id, metric)}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or overwrite tags."""
        with mlflow_client(self.config, "set tags") as client:
            from mlflow.entities import RunTag

            client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among `values`, as floats; booleans and text are no metrics."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def flattened(config: Config) -> dict[str, str]:
    """The configuration as dotted names and text, without addresses and paths of this machine."""
    flat = {}
    hidden = {"mlflow", "storage", *UNRECORDED}
    for section, values in config.model_dump(mode="json", exclude=hidden).items():
        for name, value in values.items():
            if (section, name) not in (("source", "path"), ("source", "allowed")):
                flat[f"{section}.{name}"] = str(value)
    return flat


def prepare(config: Config) -> str:
    """Make database and experiment where they are missing; safe to call again and at once.

    Returns:
        The experiment's id.

    Raises:
        ServiceError: MLflow can't be reached, or the experiment was deleted there.
    """
    with mlflow_client(config, "open the experiment") as client:
        return _experiment(config, client)


def _experiment(config: Config, client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    name, location = config.mlflow.experiment, artifact_location(config)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        raise ServiceError(
            f"MLflow experiment {name!r} was deleted: restore it or set another name"
        )
    return str(found.experiment_id)


@contextmanager
def run(
    config: Config, *, name: str, tags: Mapping[str, str], run_id: str | None = None
) -> Iterator[Run]:
    """Write to a new run, or go on with one that was cut off; it ends as FINISHED or FAILED.

    Args:
        config: names store and experiment.
        name: shown in the UI.
        tags: set at the start.
        run_id: the run to go on with.

    Raises:
        ServiceError: MLflow can't be reached; what was logged until then stays.
    """
    with mlflow_client(config, "start a run") as client:
        if run_id is None:
            # With its tags at once: killed before it has them, nobody would find it again.
            made = client.create_run(_experiment(config, client), tags=dict(tags), run_name=name)
            run_id = made.info.run_id
        else:
            client.update_run(run_id, status="RUNNING")
    handle = Run(config, run_id)
    try:
        handle.set_tags(tags)
        yield handle
    except BaseException:
        _end(config, run_id, "FAILED")
        raise
    with mlflow_client(config, "end the run") as client:
        client.set_terminated(run_id, "FINISHED")


def _end(config: Config, run_id: str, status: str) -> None:
    try:
        with mlflow_client(config, "end the run") as client:
            client.set_terminated(run_id, status)
    except BiometricError as error:
        # the error that ended the run matters more than this one
        _log.warning("run %s stays open: %s", run_id, error)


def get_run(config: Config, run_id: str) -> RunInfo:
    """Read a run.

    Raises:
        ModelError: there is no such run.
    """
    with mlflow_client(config, f"read run {run_id}") as client:
        return _info(client.get_run(run_id))


def find_run(config: Config, *, tag: str, value: str, status: Iterable[str]) -> RunInfo | None:
    """The newest run of the experiment with that tag, in one of these states."""
    with mlflow_client(config, "look for runs") as client:
        found = client.search_runs(
            [_experiment(config, client)],
            filter_string=f"tags.{tag} = '{value}'",
            order_by=["attributes.start_time DESC"],
        )
        infos = [_info(candidate) for candidate in found]
    return next((info for info in infos if info.status in set(status)), None)


def find_runs(config: Config, *, tag: str, value: str) -> list[RunInfo]:
    """All runs of the experiment with that tag, in any state; deleted ones are not among them."""
    found: list[RunInfo] = []
    token: str | None = None
    with mlflow_client(config, "look for runs") as client:
        experiment = [_experiment(config, client)]
        while True:
            text = f"tags.{tag} = '{value}'"
            page = client.search_runs(experiment, text, page_token=token)
            found += [_info(one) for one in page]
            token = page.token
            if not token:
                return found


def _info(found: "MlflowRun") -> RunInfo:
    data = found.data
    return RunInfo(
        run_id=found.info.run_id,
        status=found.info.status,
        metrics=dict(data.metrics),
        params=dict(data.params),
        tags={key: value for key, value in data.tags.items() if not key.startswith("mlflow.")},
    )


def download(config: Config, run_id: str, name: str) -> Path:
    """A local folder with the artifact `name` of a run; don't write into it.

    A local artifact store is read in place; a remote one is copied once into the storage root.

    Raises:
        ModelError: the run has no such artifact.
    """
    with mlflow_client(config, f"read {name} of run {run_id}") as client:
        from mlflow.utils.file_utils import local_file_uri_to_path
        from mlflow.utils.uri import is_local_uri

        uri = client.get_run(run_id).info.artifact_uri
        if is_local_uri(uri):
            local = Path(local_file_uri_to_path(uri)) / name
        else:
            local = _cached(Store.of(config).path("cache", "runs", run_id), client, run_id, name)
    if not local.is_dir() or not any(local.iterdir()):
        raise ModelError(f"run {run_id} has no artifact {name!r}: train again with --force")
    return local


def _cached(folder: Path, client: "MlflowClient", run_id: str, name: str) -> Path:
    target = folder / name
    if not target.is_dir():
        aside = folder / f".{time.time_ns()}"
        aside.mkdir(parents=True)
        fetched = Path(client.download_artifacts(run_id, name, str(aside)))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetched.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process has put the same files there
                raise
    return target


def download_recogniser(config: Config, run_id: str) -> Path:
    """The folder of the recogniser that a training run made, for `Recogniser.load`.

    Raises:
        ModelError: the run made none.
    """
    return download(config, run_id, RECOGNISER)


def log_evaluation(
    config: Config, run_id: str, metrics: Mapping[str, Any], files: Iterable[Path]
) -> None:
    """Add an evaluation's figures and files to a finished training run.

    Args:
        config: names the store.
        run_id: the training run.
        metrics: by name; only finite numbers are logged.
        files: plots and tables, stored under `evaluation/`.
    """
    handle = Run(config, run_id)
    handle.log_metrics(metrics)
    handle.log_files(files, EVALUATION)


def log_report(
    config: Config,
    *,
    name: str,
    directory: Path,
    metrics: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:
    """Store a report (a folder of HTML and JSON) as a run of its own; the same name is updated.

    Returns:
        The run's id.
    """
    states = ("FINISHED", "RUNNING", "FAILED")
    known = find_run(config, tag="report", value=name.replace("'", ""), status=states)
    own = {**tags, KIND: "report", "report": name.replace("'", "")}
    with run(config, name=name, tags=own, run_id=known.run_id if known else None) as handle:
        handle.log_metrics(metrics)
        # File by file: what another writer of the same report has aside may be gone any moment.
        for file in sorted(directory.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                place = Path("report") / file.relative_to(directory).parent
                handle.log_files([file], place.as_posix())
    return handle.run_id
