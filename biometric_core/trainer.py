"""The training loop itself: one epoch at a time, all randomness from (seed, epoch)."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biometric_core import pretrained
from biometric_core.batches import Classes, Rows, assemble, epoch_rows, labelled, steps
from biometric_core.checkpoint import TrainingState
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet
from biometric_core.errors import ModelError
from biometric_core.models import BiometricNet, ModelSpec
from biometric_core.models.heads import ArcFaceHead
from biometric_core.schemas import Modality
from biometric_core.validation import open_set

Sets = Mapping[Modality, CaptureSet]
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
            for array in (found.images, found.masks):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


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
        self.module = wrap(self.net) if wrap else self.net
        self.optimiser = _optimiser(self.net, config, self.pretrained)
        precision = self.settings.precision
        self.bfloat16 = precision == "bf16" or (precision == "auto" and pays_bfloat16(self.device))
        self.state = TrainingState(fit_digest(train, validation, config))

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`."""
        self.state = state
        self.net.load_state_dict(state.model)
        _load_optimiser(self.optimiser, state.optimiser)

    def run_epoch(self) -> dict[str, float]:
        """Train for one epoch, validate, and bring `state` up to date; returns the metrics."""
        epoch, start = self.state.epochs_run, time.perf_counter()
        plan, generator = self._plan(epoch)
        self._training_mode()
        losses: list[dict[str, float]] = []
        for number, rows in enumerate(plan):
            rate = self._set_pace(epoch + number / len(plan))
            losses.append(self._step(rows, generator))
        seconds = time.perf_counter() - start
        samples = sum(int((rows.captures >= 0).sum()) for rows in plan) * self.world
        metrics = {
            "epoch": float(epoch + 1),
            **_means(losses),
            "lr": rate,
            "seconds": seconds,
            "samples_per_second": samples / seconds,
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
        rows = epoch_rows(self.data, self.settings.min_steps * size, rng)
        seeds = np.random.SeedSequence((self.settings.seed, epoch, self.rank))
        generator = torch.Generator(device=self.device)
        generator.manual_seed(int(seeds.generate_state(1)[0]))
        return steps(rows, size, self.rank, self.world), generator

    def _step(self, rows: Rows, generator: torch.Generator) -> dict[str, float]:
        batch = assemble(rows, self.data, self.device, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            losses: dict[str, Tensor] = self.module(batch)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise ModelError(
                f"the loss is not finite in epoch {self.state.epochs_run + 1}: "
                "lower training.learning_rate, or set training.precision to fp32"
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        parts = {f"loss_{name}": loss.item() for name, loss in losses.items()}
        return {"loss": total.item(), **parts}

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
        state.optimiser = _optimiser_tensors(self.optimiser)
        score = metrics.get("separation", -metrics.get("loss", math.inf))
        if state.best_score is None or score > state.best_score:
            state.best_score, state.best_epoch = score, state.epochs_run
            state.best = state.model
        waited = state.epochs_run - state.best_epoch
        state.finished = (
            state.epochs_run >= self.settings.epochs or waited >= self.settings.patience
        )


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
    return len(np.unique(captures.identity)) == len(captures)


def _optimiser(
    net: BiometricNet, config: Config, pretrained: Sequence[Modality]
) -> torch.optim.AdamW:
    """AdamW; no decay on biases and normalisation, smaller steps for pretrained branches."""
    settings = config.training
    started = tuple(f"branches.{modality}." for modality in pretrained)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            kind = name.startswith(started), parameter.ndim > 1
            groups.setdefault(kind, []).append(parameter)
    options: list[dict[str, Any]] = [
        {
            "params": chosen,
            "share": settings.pretrained_rate if known else 1.0,
            "weight_decay": settings.weight_decay if matrix else 0.0,
        }
        for (known, matrix), chosen in groups.items()
    ]
    return torch.optim.AdamW(options, lr=settings.learning_rate)


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": tensor.detach().cpu().clone()
        for number, tensors in state.items()
        for name, tensor in tensors.items()
    }


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        # A copy: the optimiser updates these in place, and the loaded state must stay as it is.
        state.setdefault(int(number), {})[name] = tensor.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = {name: None for row in rows for name in row}
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _readable(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch")
