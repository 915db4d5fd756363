"""Fit the recogniser: resumable after any epoch, the same result for the same seed."""

import logging
from pathlib import Path

from biometric_core.config import Config
from biometric_core.data.capture_sets import Sets
from biometric_core.errors import DataError
from biometric_core.parallel.thread_limits import torch_threads
from biometric_core.training import checkpoint
from biometric_core.training.batches import Classes
from biometric_core.training.checkpoint import found_state
from biometric_core.training.outcome import Fitted, OnEpoch
from biometric_core.training.trainer import Trainer

_log = logging.getLogger(__name__)


def fit(
    train: Sets,
    validation: Sets,
    config: Config,
    *,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Fit the recogniser on the training captures.

    Args:
        train: captures by modality; one modality is enough, and one capture of an identity.
        validation: captures of other subjects for early stopping; the training loss decides if
            they hold no mated pair.
        config: `training` decides; with more than one worker the fit runs under Ray Train.
        checkpoint_dir: where the state is kept after each epoch; nowhere when None.
        resume: go on from the state found there, if it is of this configuration and these data.
        on_epoch: called after each epoch (from 1) with its metrics, once the state is kept.

    Raises:
        DataError: fewer than `training.min_subjects` subjects, or a subject in both sets.
        ModelError: the state found is damaged or a pickle, or the loss is not finite.
    """
    _check(train, validation, config)
    fit_by = _fit_here
    if config.training.workers > 1:
        from biometric_core.training.ray_workers import fit_distributed

        fit_by = fit_distributed
    return fit_by(
        train, validation, config, checkpoint_dir=checkpoint_dir, resume=resume, on_epoch=on_epoch
    )


def _fit_here(
    train: Sets,
    validation: Sets,
    config: Config,
    *,
    checkpoint_dir: Path | None,
    resume: bool,
    on_epoch: OnEpoch | None,
) -> Fitted:
    """`fit` in this process."""
    with torch_threads(config.training.threads):
        trainer = Trainer(train, validation, config)
        if checkpoint_dir is not None and resume:
            found = found_state(checkpoint_dir, trainer.state.digest)
            if found is not None:
                trainer.restore(found)
        while not trainer.state.finished:
            metrics = trainer.run_epoch()
            if checkpoint_dir is not None:
                checkpoint.save(trainer.state, checkpoint_dir)
            if on_epoch is not None:
                on_epoch(trainer.state.epochs_run, metrics)
        return Fitted.of(trainer)


def _check(train: Sets, validation: Sets, config: Config) -> None:
    subjects = set(Classes.of(train).subjects)
    least = config.training.min_subjects
    if len(subjects) < least:
        raise DataError(
            f"{len(subjects)} training subjects with usable captures, training.min_subjects is "
            f"{least}: ingest more people"
        )
    both = subjects & set(Classes.of(validation).subjects)
    if both:
        raise DataError(f"{len(both)} subjects are in training and validation: split by subject")
