"""The state of a training run in one file: safetensors, never a pickle.

The tensors (network, best network so far, optimiser) and the JSON of everything else are renamed
into place together, so a run that is killed finds the last whole epoch and goes on bit for bit.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from biometric_core.errors import ModelError
from biometric_core.recogniser.files import LENGTH_BYTES, refuse_pickle
from biometric_core.storage.files import atomic_write, writable

_log = logging.getLogger(__name__)
FILE_NAME = "training.safetensors"
FORMAT = "biometric-training-1"
_TENSOR_GROUPS = ("model", "best", "optimiser")


@dataclass
class TrainingState:
    """Everything that a finished epoch leaves behind.

    There is no generator state: an epoch's randomness comes from (seed, epoch).

    Attributes:
        digest: of the configuration and the data; a state is resumed only where it is equal.
        epochs_run: finished epochs.
        best_epoch: number of the best one, from 1; 0 before the first.
        best_score: its score, higher is better; None before the first.
        history: metrics of each finished epoch.
        finished: training ended, by the last epoch or by early stopping.
        model: the network's tensors after `epochs_run` epochs.
        best: the network's tensors after `best_epoch`.
        optimiser: the optimiser's tensors, `<parameter number>.<name>`.
    """

    digest: str
    epochs_run: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False
    model: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Tensor] = field(default_factory=dict)


def save(state: TrainingState, folder: Path) -> Path:
    """Write the state to `folder`, replacing the one before in one rename.

    Returns:
        The file's path.

    Raises:
        StorageError: the disk is full; the state before is as it was.
    """
    tensors = {
        # A copy: `best` may be `model` itself, and safetensors refuses shared memory.
        f"{group}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for group in _TENSOR_GROUPS
        for name, tensor in getattr(state, group).items()
    }
    rest = {k: v for k, v in vars(state).items() if k not in _TENSOR_GROUPS}
    metadata = {"format": FORMAT, "state": json.dumps(rest, allow_nan=False)}
    path = folder / FILE_NAME
    with writable(str(folder)):
        atomic_write(path, save_tensors(tensors, metadata))
    return path


def load(path: Path) -> TrainingState:
    """Read a state that `save` wrote.

    Raises:
        ModelError: the file is missing, a pickle (nothing of it is run), cut short, or foreign.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"checkpoint {path.name} can't be read: {error.strerror}") from error
    refuse_pickle(data, path.name)
    try:
        tensors = load_tensors(data)
        rest = _metadata(data)
        groups: dict[str, dict[str, Tensor]] = {group: {} for group in _TENSOR_GROUPS}
        for key, tensor in tensors.items():
            group, name = key.split("/", 1)
            groups[group][name] = tensor
        return TrainingState(**rest, **cast(Any, groups))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"checkpoint {path.name} is damaged or not one of ours ({error}): "
            "remove it to start over"
        ) from error


def _metadata(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
    metadata = header.get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format is {metadata.get('format')!r}, expected {FORMAT!r}")
    rest: dict[str, Any] = json.loads(metadata["state"])
    return rest


def found_state(folder: Path, digest: str) -> TrainingState | None:
    """The state kept in `folder`, None where there is none of this fit.

    Raises:
        ModelError: the file is damaged or a pickle.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    state = load(path)
    if state.digest != digest:
        _log.warning(
            "the checkpoint is of another configuration or other data (%s, not %s): starting over",
            state.digest,
            digest,
        )
        return None
    _log.info("going on after epoch %d", state.epochs_run)
    return state
