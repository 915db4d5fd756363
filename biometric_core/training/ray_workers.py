"""The same fit spread over several Ray workers (`training.workers`), gradients averaged.

It starts slowly (tens of seconds) and two one-thread workers are no faster than one process with
two threads, so it is for several machines or GPUs. A worker that dies is replaced, and training
goes on after the last finished epoch. Several machines must share the checkpoint folder.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import ray
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, prepare_model
from torch import distributed, nn

from biometric_core.config import Config
from biometric_core.data.capture_sets import Sets
from biometric_core.errors import ServiceError
from biometric_core.parallel.ray_pool import ray_cluster
from biometric_core.recogniser.network import BiometricNet
from biometric_core.storage.private import owner_only, tighten
from biometric_core.training import checkpoint
from biometric_core.training.checkpoint import FILE_NAME, TrainingState, found_state
from biometric_core.training.outcome import Fitted, OnEpoch
from biometric_core.training.trainer import Trainer

MAX_FAILURES = 2
RUN_FOLDER = "ray-train"

_log = logging.getLogger(__name__)


def fit_distributed(
    train: Sets,
    validation: Sets,
    config: Config,
    *,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """`fit.fit` on `training.workers` workers of one CPU each, or one GPU where there are enough.

    The arguments are those of `fit.fit`; `on_epoch` is called for all epochs once training
    ended, because they are run by other processes.

    Raises:
        ServiceError: no cluster, a cluster with too few CPUs, or workers that keep failing.
    """
    local = Trainer(train, validation, config)  # names classes and digest; trains nothing here
    start = found_state(checkpoint_dir, local.state.digest) if checkpoint_dir and resume else None
    known = len(start.history) if start else 0
    with _storage(checkpoint_dir, resume) as storage, ray_cluster(config):
        loop = {
            "data": ray.put((dict(train), dict(validation))),
            "config": config,
            "start": ray.put(start),
        }
        state = _run(loop, storage, local.state.digest, config)
    if checkpoint_dir is not None:
        checkpoint.save(state, checkpoint_dir)
    for metrics in state.history[known:] if on_epoch else ():
        cast(OnEpoch, on_epoch)(int(metrics["epoch"]), metrics)
    local.restore(state)
    return Fitted.of(local)


@contextmanager
def _storage(checkpoint_dir: Path | None, resume: bool) -> Iterator[Path]:
    """Where Ray keeps the epochs' checkpoints while the run lasts, and after it failed."""
    if checkpoint_dir is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = checkpoint_dir.resolve() / RUN_FOLDER
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        tighten(folder)  # Ray's own processes write there too
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _run(loop: dict[str, Any], storage: Path, name: str, config: Config) -> TrainingState:
    workers, resources = config.training.workers, ray.cluster_resources()
    if resources.get("CPU", 0) < workers:
        raise ServiceError(
            f"training.workers is {workers}, the Ray cluster has {resources.get('CPU', 0):.0f} "
            "CPUs: ask for fewer, or raise ray.num_cpus"
        )
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=loop,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=resources.get("GPU", 0) >= workers,
            resources_per_worker=None if resources.get("GPU", 0) >= workers else {"CPU": 1},
        ),
        # A run of this name that was cut off is taken up again by Ray.
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise ServiceError(f"training on Ray failed: {error}") from error
    if result.checkpoint is None:
        raise ServiceError("training on Ray ended without a checkpoint: see the workers' logs")
    with result.checkpoint.as_directory() as folder:
        return checkpoint.load(Path(folder) / FILE_NAME)


@owner_only()
def train_worker(loop: dict[str, Any]) -> None:
    """What each worker runs: the epochs that no checkpoint holds yet."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    context = ray.train.get_context()
    train, validation = ray.get(loop["data"])
    trainer = Trainer(
        train,
        validation,
        loop["config"],
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        wrap=_wrap,
        agree=_agree,
    )
    state = _reported() or ray.get(loop["start"])
    if state is not None:
        trainer.restore(state)
    if trainer.state.finished:
        _report(trainer)
    while not trainer.state.finished:
        trainer.run_epoch()
        # Before the next epoch starts: a worker that dies then does no epoch twice.
        _report(trainer)


def _wrap(net: BiometricNet) -> nn.Module:
    # A share of a batch may hold no capture of a modality: its branch then has no gradient.
    return prepare_model(net, parallel_strategy_kwargs={"find_unused_parameters": True})


def _agree(figures: dict[str, float]) -> dict[str, float]:
    shared: list[dict[str, float] | None] = [figures]
    distributed.broadcast_object_list(shared, src=0)
    return cast(dict[str, float], shared[0])


def _reported() -> TrainingState | None:
    found = ray.train.get_checkpoint()
    if found is None:
        return None
    with found.as_directory() as folder:
        return checkpoint.load(Path(folder) / FILE_NAME)


def _report(trainer: Trainer) -> None:
    metrics = trainer.state.history[-1]
    if trainer.rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(trainer.state, Path(folder))
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))
