"""Captures to fixed-size, normalised images: the parallel, resumable part of the pipeline."""

import logging
import time
from dataclasses import dataclass, field

from biometric_core.config import Config
from biometric_core.data.preparing import Missing, missing, prepare_missing
from biometric_core.errors import ConfigError, ModelError, ServiceError
from biometric_core.history import decisions
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.parallel.executors import Executor
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreprocessResult:
    """What a run of `preprocess` did.

    Attributes:
        prepared: captures that have a sample now.
        failed: captures that could not be acquired.
        known: captures that this version had seen.
        failures: failures to acquire by reason.
        executor: where the work was done.
        seconds: wall clock.
        captures_per_second: prepared and failed ones.
        version: the preprocessing version.
        reread: known captures whose files are read otherwise now (`data.rereading`).
        champion: captures that were prepared as well as the champion needs them, by version; empty
            where it needs none other.
    """

    prepared: int
    failed: int
    known: int
    failures: dict[str, int]
    executor: str
    seconds: float
    captures_per_second: float
    version: str
    reread: int = 0
    champion: dict[str, int] = field(default_factory=dict)


@owner_only()
def preprocess(config: Config, *, executor: str | None = None) -> PreprocessResult:
    """Prepare every capture that this preprocessing version has not seen.

    While the champion needs another version, captures are prepared as that one too. Where that
    can't be done it is said, and what needs them so refuses; training goes on.

    A run that was killed goes on with the chunks that are missing. Of two runs at once each does
    what the other has not committed.

    Args:
        config: `preprocess` and `ray` decide shapes, executor and bounds.
        executor: overrides `preprocess.executor`.

    Raises:
        ConfigError: there is no such executor.
        StorageError: the disk is full; what was prepared stays, the next run goes on from there.
        ServiceError: Ray is out of reach, or workers keep being killed.
    """
    start, config = time.monotonic(), _with_executor(config, executor)
    store, version = Store.of(config), preprocess_version(config)
    _tell_older(store, version, missing(store, version))
    done = prepare_missing(store, config)
    failed, seconds = done.failures.total(), time.monotonic() - start
    _log.info("prepared %d captures, %d failed to acquire, %s", done.rows, failed, done.executor)
    return PreprocessResult(
        prepared=done.rows - failed,
        failed=failed,
        known=done.known,
        failures=dict(done.failures),
        executor=done.executor.value,
        seconds=round(seconds, 2),
        captures_per_second=round(done.rows / seconds, 1),
        version=version,
        reread=done.reread,
        champion=_for_champion(store, config),
    )


def _with_executor(config: Config, executor: str | None) -> Config:
    if executor is None:
        return config
    if executor not in ("auto", *Executor):
        names = ", ".join(("auto", *Executor))
        raise ConfigError(f"no executor {executor!r}: there are {names}")
    section = config.preprocess.model_copy(update={"executor": executor})
    return config.model_copy(update={"preprocess": section})


def _tell_older(store: Store, version: str, todo: Missing) -> None:
    """Say where captures are prepared again because the preprocessing changed."""
    if not todo.captures.num_rows:
        return
    versions = store.read("features", ["preprocess_version"])["preprocess_version"]
    for older in versions.value_counts().to_pylist():
        if older["values"] != version:
            _log.warning(
                "%d captures were prepared by version %s: they stay readable, and are prepared "
                "by version %s beside it",
                *(older["counts"], older["values"], version),
            )


def _for_champion(store: Store, config: Config) -> dict[str, int]:
    """How many captures were prepared for a champion that needs another version."""
    if decisions.last_change(decisions.read(store)) is None:
        return {}  # no champion yet: MLflow needn't be there
    from biometric_core.tracking import registry
    from biometric_core.tracking.own_preparation import prepare_for

    try:
        champion = registry.get(config, registry.CHAMPION)
        if champion is None or registry.prepared_by(config, champion) == preprocess_version(config):
            return {}
        recogniser, _ = registry.load_recogniser(config, champion.version)
        return {
            recogniser.preprocess_version: prepare_for(config, store, recogniser, champion.run_id)
        }
    except (ModelError, ServiceError) as error:
        _log.warning("captures are not prepared for the champion: %s", error)
        return {}
