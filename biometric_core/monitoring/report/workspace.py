"""Where reports are kept: an Evidently workspace that its UI serves, and folders of HTML and JSON.

The workspace is a local folder: under the storage root, or under `storage.work` where that is an
object store. A day has one run in it, whose id is made of the day. Evidently writes a file in
place; here it is written elsewhere and moved in, so that neither the UI nor another monitor ever
sees half of one.
"""

import logging
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from biometric_core.config import Config
from biometric_core.storage.files import writable
from biometric_core.storage.store import Store

if TYPE_CHECKING:
    from evidently.core.report import Snapshot
    from evidently.core.serialization import SnapshotModel
    from evidently.sdk.models import DashboardPanelPlot

_log = logging.getLogger(__name__)
_WORKSPACE = "evidently"
_SNAPSHOTS = "snapshots"
_RUN_ENDING = "-0000-8000-8000-000000000000.json"
_NAMESPACE = uuid.UUID("6f0f6f9e-6f6e-4a53-9e0c-2f8f3a1b7c55")


def workspace(config: Config) -> Path:
    """The folder of the workspace; it exists afterwards."""
    return Store.of(config).path(_WORKSPACE, "any").parent


def project_id(config: Config) -> uuid.UUID:
    """The project of the configured model: the same at every call and on every machine."""
    return uuid.uuid5(_NAMESPACE, config.mlflow.model_name)


def run_id(day: date) -> uuid.UUID:
    """The id of a day's run: a version 8 UUID (RFC 9562, for own use) that begins with the day."""
    return uuid.UUID(f"{day:%Y%m%d}{_RUN_ENDING.removesuffix('.json')}")


def prepare_project(config: Config, panels: Sequence["DashboardPanelPlot"]) -> Path:
    """Make the model's project with its dashboard, unless it is there.

    A dashboard that somebody has changed stays as it is.

    Returns:
        The folder of the project.

    Raises:
        StorageError: the disk is full or read-only.
    """
    from evidently.sdk.models import DashboardModel, DashboardTabModel, ProjectModel
    from evidently.ui.storage.local.base import LocalState

    name, project = config.mlflow.model_name, project_id(config)
    folder = workspace(config) / str(project)
    if (folder / "dashboard.json").is_file():
        return folder
    described = ProjectModel(id=project, name=name, description="Drift, a run for each day")
    tab = DashboardTabModel(title="Drift", panels=[panel.id for panel in panels])
    with writable(str(folder)), _aside(config) as aside:
        (folder / _SNAPSHOTS).mkdir(parents=True, exist_ok=True)
        state = LocalState(aside)
        state.write_project(described)
        state.write_dashboard(project, DashboardModel(tabs=[tab], panels=list(panels)))
        for file in ("metadata.json", "dashboard.json"):
            Path(aside, str(project), file).replace(folder / file)
    return folder


def keep_run(
    config: Config, day: date, snapshot: "Snapshot", panels: Sequence["DashboardPanelPlot"]
) -> None:
    """Put a day's run into the workspace, in the place of an earlier one of that day.

    Args:
        config: names storage and model.
        day: of the run.
        snapshot: what Evidently made of the day.
        panels: of the dashboard, where there is none yet.

    Raises:
        StorageError: the disk is full or read-only.
    """
    from evidently.ui.storage.local.base import LocalState

    folder = prepare_project(config, panels)
    with writable(str(folder)), _aside(config) as aside:
        state = LocalState(aside)
        state.write_snapshot(project_id(config), run_id(day), _slim(snapshot.to_snapshot_model()))
        name = f"{run_id(day)}.json"
        written = Path(aside, str(project_id(config)), _SNAPSHOTS, name)
        written.replace(folder / _SNAPSHOTS / name)


def _slim(model: "SnapshotModel") -> "SnapshotModel":
    """Without the drawings of single metrics: those of the whole report are there as well.

    The UI holds all runs in memory.
    """
    results = {
        name: result.copy(update={"widget": None}) for name, result in model.metric_results.items()
    }
    return model.copy(update={"metric_results": results})


def _aside(config: Config) -> "tempfile.TemporaryDirectory[str]":
    """A folder on the same disk that the UI does not watch."""
    caches = Store.of(config).path("cache", "any").parent
    return tempfile.TemporaryDirectory(dir=caches, prefix="evidently-")


def forget_reports(config: Config, *, before: date) -> int:
    """Delete the reports of days before one: folder, copy in the object store, workspace run.

    What was logged to MLflow and the rows of `drift` stay.

    Args:
        config: names the storage and the model.
        before: the first day whose report stays.

    Returns:
        How many days' reports were deleted.

    Raises:
        StorageError: the storage can't be reached, or is read-only.
    """
    store, gone = Store.of(config), set()
    for uri, _ in store.files.list("reports"):
        day = _day(Path(uri).parts[1])
        if day and day < before:
            store.files.delete(uri)
            gone.add(day)
    with writable(store.root):
        for entry in (*_folders(store), *_runs(store)):
            day = _day(entry.name.removesuffix(_RUN_ENDING))
            if day and day < before:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
                gone.add(day)
    _log.info("reports of %d days before %s deleted", len(gone), before)
    return len(gone)


def _folders(store: Store) -> list[Path]:
    """Of reports, on this machine."""
    return list(store.path("reports", "any").parent.iterdir())


def _runs(store: Store) -> list[Path]:
    """Files of runs in the workspace, of every project."""
    return list(store.path(_WORKSPACE, "any").parent.glob(f"*/{_SNAPSHOTS}/*{_RUN_ENDING}"))


def _day(name: str) -> date | None:
    """The day that a folder or a run is named after; None for whatever else lies there."""
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None
