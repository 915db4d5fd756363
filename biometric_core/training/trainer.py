"""The training loop itself: one epoch at a time, all randomness from (seed, epoch)."""

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, Images, Sets
from biometric_core.data.pixels import Pixels
from biometric_core.errors import ConfigError, ModelError
from biometric_core.recogniser.network import BiometricNet, ModelSpec, TrainingBatch
from biometric_core.recogniser.network.heads import ArcFaceHead
from biometric_core.recogniser.network.net import ORDER
from biometric_core.training import pretrained
from biometric_core.training.batches import (
    Classes,
    Order,
    Rows,
    epoch_rows,
    labelled,
    steps,
)
from biometric_core.training.checkpoint import TrainingState
from biometric_core.training.feed import feed
from biometric_core.training.optimiser import load_tensors, make_optimiser, tensors_of
from biometric_core.training.validation import open_set

Agree = Callable[[dict[str, float]], dict[str, float]]

MARGIN_RAMP = 0.25  # of the epochs: with thousands of classes a full margin stalls the start
FLOOR_RATE = 0.01  # of the learning rate, at the end of the cosine
GRADIENT_NORM = 5.0
# Settings that change how fast a fit is, or which machine does it, but not what is fitted.
NOT_FITTED = {"workers", "threads"}

_log = logging.getLogger(__name__)


def pays_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is known to be faster there.

    On the CPU it is with AMX, and with AVX512-BF16: 2.0 to 2.5 times, this network, batch of 64.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def fit_digest(train: Sets, validation: Sets, config: Config) -> str:
    """SHA-256 (first 16 hex digits) of all that decides the outcome of a fit."""
    training = config.training.model_dump(mode="json", exclude=NOT_FITTED)
    digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode())
    digest.update(pretrained.digest(config).encode())
    for role, sets in (("train", train), ("validation", validation)):
        for modality in sorted(sets):
            found = sets[modality]
            digest.update(f"{role} {modality} {found.images.shape}".encode())
            for names in (found.capture_id, found.identity):
                digest.update("\n".join(names).encode())
            for images in (found.images, found.masks):
                digest.update(_named(images))
    return digest.hexdigest()[:16]


def _named(images: Images) -> bytes:
    """What tells pixels apart beside the capture ids: how they were prepared, else themselves."""
    if isinstance(images, Pixels):
        return images.origin.prepared_by.encode()
    return hashlib.sha256(np.ascontiguousarray(images).data).digest()


class Trainer:
    """The loop's state: network, optimiser, and what earlier epochs left behind.

    Args:
        train: training captures.
        validation: captures of other subjects.
        config: `training` decides.
        rank: number of this worker among `world`; each takes its share of every step.
        world: number of workers.
        wrap: makes the network distributed, and moves it to its device.
        agree: makes the validation figures of worker 0 those of all.
    """

    def __init__(
        self,
        train: Sets,
        validation: Sets,
        config: Config,
        *,
        rank: int = 0,
        world: int = 1,
        wrap: Callable[[BiometricNet], nn.Module] | None = None,
        agree: Agree | None = None,
    ) -> None:
        self.settings = config.training
        self.validation = validation
        self.rank, self.world, self.agree = rank, world, agree
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.classes = Classes.of(train)
        self.data = labelled(train, self.classes)
        self.spec = _spec(train, self.classes, config)
        self.net = _seeded_net(self.spec, self.settings.seed)
        self.pretrained = pretrained.start_from(self.net, config)
        self.frozen = [m for m in self.pretrained if _nothing_to_learn(train[m])]
        for modality in self.frozen:
            self.net.branches[modality.value].requires_grad_(False)
        self.net.to(self.device)
        self.net.to(memory_format=torch.channels_last)
        if self.settings.compile:
            _compiled(self.net)
        self.module = wrap(self.net) if wrap else self.net
        self.optimiser = make_optimiser(self.net, config, self.pretrained)
        precision = self.settings.precision
        self.bfloat16 = precision == "bf16" or (precision == "auto" and pays_bfloat16(self.device))
        self.state = TrainingState(fit_digest(train, validation, config))

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`."""
        self.state = state
        self.net.load_state_dict(state.model)
        load_tensors(self.optimiser, state.optimiser)

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch, validate, and bring `state` up to date; returns the metrics."""
        epoch, start = self.state.epochs_run, time.perf_counter()
        plan, generator = self._plan(epoch)
        self._training_mode()
        losses: list[dict[str, float]] = []
        batches = self._batches(plan, generator)
        waited = 0.0
        for number, rows in enumerate(plan):
            rate = self._set_pace(epoch + number / len(plan))
            seconds, found = self._step(rows, batches)
            waited += seconds
            losses.append(found)
        seconds = time.perf_counter() - start
        samples = sum(int((rows.captures >= 0).sum()) for rows in plan) * self.world
        metrics = {
            "epoch": float(epoch + 1),
            **_means(losses),
            "lr": rate,
            "seconds": seconds,
            "samples_per_second": samples / seconds,
            "data_seconds": waited,
            "data_share": waited / seconds,
        }
        figures = open_set(self.net, self.validation, self.device) if self.rank == 0 else {}
        metrics |= figures if self.agree is None else self.agree(figures)
        self._remember(metrics)
        _log.info("epoch %d/%d: %s", epoch + 1, self.settings.epochs, _readable(metrics))
        return metrics

    def _training_mode(self) -> None:
        self.module.train()
        for modality in self.frozen:
            self.net.branches[modality.value].eval()  # batch statistics would move as well

    def _plan(self, epoch: int) -> tuple[list[Rows], torch.Generator]:
        """The steps of an epoch and the randomness in them, from (seed, epoch) alone."""
        rng = np.random.default_rng((self.settings.seed, epoch))
        size = self.settings.batch_size
        order = Order(self.settings.impressions, self.settings.shuffle_rows)
        rows = epoch_rows(self.data, self.settings.min_steps * size, rng, order)
        seeds = np.random.SeedSequence((self.settings.seed, epoch, self.rank))
        generator = torch.Generator(device=self.device)
        generator.manual_seed(int(seeds.generate_state(1)[0]))
        together = self.settings.impressions is not None
        return steps(rows, size, self.rank, self.world, together=together), generator

    def _batches(self, plan: list[Rows], generator: torch.Generator) -> Iterator[TrainingBatch]:
        parts = [part for rows in plan for part in self._parts(rows)]
        return feed(parts, self.data, self.device, generator, alone=self.world == 1)

    def _parts(self, rows: Rows) -> list[Rows]:
        """The micro-steps of a step, at least one: an empty share still exchanges gradients."""
        index = np.array_split(np.arange(len(rows)), self.settings.accumulate)
        return [rows.part(part) for part in index if len(part)] or [rows]

    def _step(self, rows: Rows, batches: Iterator[TrainingBatch]) -> tuple[float, dict[str, float]]:
        """One step of the optimiser; returns the seconds it waited for data, and the losses."""
        parts = self._parts(rows)
        waited, sums = 0.0, dict[str, float]()
        self.optimiser.zero_grad(set_to_none=True)
        for number, part in enumerate(parts, start=1):
            start = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - start
            # Workers exchange gradients once a step, with the last part.
            with self._apart(number < len(parts)):
                for name, value in self._backward(batch, part, rows).items():
                    sums[name] = sums.get(name, 0.0) + value
        nn.utils.clip_grad_norm_(self.net.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        return waited, sums

    def _apart(self, apart: bool) -> AbstractContextManager[Any]:
        """Keeps gradients from being exchanged inside, where there are other workers."""
        found: Callable[[], AbstractContextManager[Any]] | None
        found = getattr(self.module, "no_sync", None) if apart else None
        return found() if found else nullcontext()

    def _backward(self, batch: TrainingBatch, part: Rows, rows: Rows) -> dict[str, float]:
        """Gradients of a part's share in the step's loss; returns the shares."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            losses: dict[str, Tensor] = self.module(batch)
        shares = {name: loss * _share(name, part, rows) for name, loss in losses.items()}
        total = torch.stack(list(shares.values())).sum()
        if not math.isfinite(total.item()):
            raise ModelError(
                f"the loss is not finite in epoch {self.state.epochs_run + 1}: "
                "lower training.learning_rate, or set training.precision to fp32"
            )
        total.backward()  # type: ignore[no-untyped-call]
        return {"loss": total.item(), **{f"loss_{n}": loss.item() for n, loss in shares.items()}}

    def _set_pace(self, progress: float) -> float:
        """Learning rate (linear warm-up, then a cosine) and margin, which grows to its full size.

        Functions of the progress, so that resuming needs no state.
        """
        warmup, epochs = self.settings.warmup_epochs, self.settings.epochs
        grown = min(1.0, progress / (MARGIN_RAMP * epochs))
        for head in self.net.modules():
            if isinstance(head, ArcFaceHead):
                head.margin = self.spec.margin * grown
        if progress < warmup:
            share = (progress + 0.1) / (warmup + 0.1)
        else:
            along = (progress - warmup) / max(epochs - warmup, 1)
            share = FLOOR_RATE + (1 - FLOOR_RATE) * 0.5 * (1 + math.cos(math.pi * min(along, 1)))
        rate = self.settings.learning_rate * share
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        return rate

    def _remember(self, metrics: dict[str, float]) -> None:
        state = self.state
        state.epochs_run += 1
        state.history.append(metrics)
        state.model = _copied(self.net.state_dict())
        state.optimiser = tensors_of(self.optimiser)
        score = metrics.get("separation", -metrics.get("loss", math.inf))
        if state.best_score is None or score > state.best_score:
            state.best_score, state.best_epoch = score, state.epochs_run
            state.best = state.model
        waited = state.epochs_run - state.best_epoch
        state.finished = (
            state.epochs_run >= self.settings.epochs or waited >= self.settings.patience
        )


def _share(name: str, part: Rows, rows: Rows) -> float:
    """How much the mean loss of a part weighs in that of the step: its share of the captures."""
    if name not in [modality.value for modality in ORDER]:
        return len(part) / max(1, len(rows))
    place = [modality.value for modality in ORDER].index(name)
    own, every = ((found.captures[:, place] >= 0).sum() for found in (part, rows))
    return float(own / every)


def _compiled(net: BiometricNet) -> None:
    """Have the branches translated on first use; the names of the tensors stay as they are."""
    if not (torch.cuda.is_available() or shutil.which(os.environ.get("CXX", "g++"))):
        raise ConfigError("training.compile needs a C++ compiler (g++): install one, or set false")
    for branch in net.branches.values():
        branch.compile(dynamic=True)


def _spec(train: Sets, classes: Classes, config: Config) -> ModelSpec:
    settings = config.training
    height_width = {m: train[m].images.shape[1:] for m in classes.identities}
    return ModelSpec(
        shapes={m: (int(h), int(w)) for m, (h, w) in height_width.items()},
        identities={m: len(names) for m, names in classes.identities.items()},
        subjects=len(classes.subjects),
        width=settings.width,
        embedding_dim=settings.embedding_dim,
        fusion=settings.fusion,
        head=settings.head,
        margin=settings.margin,
        scale=settings.scale,
    )


def _seeded_net(spec: ModelSpec, seed: int) -> BiometricNet:
    """A fresh network; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BiometricNet(spec)


def _nothing_to_learn(captures: CaptureSet) -> bool:
    """Whether every eye or finger was captured once: how captures differ can't be seen in them."""
    return len(np.unique(captures.identity)) == len(np.unique(captures.capture_id))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = {name: None for row in rows for name in row}
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _readable(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
