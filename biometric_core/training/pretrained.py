"""The branches that training starts from: learnt on generated people, shipped with the package.

`biometric pretrain` makes them anew. No image of a real person went into them.
"""

import hashlib
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.recogniser.network import BiometricNet
from biometric_core.schemas import Modality

FOLDER = Path(__file__).parents[1] / "weights"
"""A recogniser as `Recogniser.save` writes it, without training subjects."""
_TENSORS = FOLDER / "model.safetensors"

_log = logging.getLogger(__name__)


def digest(config: Config) -> str:
    """SHA-256 of the shipped tensors where training starts from them, else empty."""
    return hashlib.sha256(_TENSORS.read_bytes()).hexdigest() if applies(config) else ""


def start_from(net: BiometricNet, config: Config) -> tuple[Modality, ...]:
    """Give a new network the shipped branches, where they fit.

    Args:
        net: changed in place.
        config: `training.pretrained` asks for it; the preprocessing must be the shipped one.

    Returns:
        The modalities whose branch is pretrained; the others keep their random weights.
    """
    if not applies(config):
        return ()
    found, _ = _shipped()
    started = []
    for modality in net.spec.modalities:
        branch = net.branches[modality.value]
        tensors = _of(found, f"branches.{modality.value}.")
        if _shapes(tensors) == _shapes(branch.state_dict()):
            branch.load_state_dict(tensors)
            started.append(modality)
        else:
            _log.info("no pretrained %s branch of this width and embedding size", modality)
    return tuple(started)


@cache
def _shipped() -> tuple[dict[str, Tensor], str]:
    """The tensors of the shipped branches, and the preprocessing they were made for.

    Raises:
        ModelError: they are missing or damaged.
    """
    try:
        with safe_open(_TENSORS, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith("branches.")]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
            return tensors, file.metadata()["preprocess_version"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(
            f"the weights that ship with the package are missing or damaged ({error}): install it "
            "again, or set training.pretrained=false"
        ) from error


def applies(config: Config) -> bool:
    """Whether the shipped branches are asked for, and made for captures prepared so."""
    if not config.training.pretrained:
        return False
    wanted = preprocess_version(config)
    if _shipped()[1] != wanted:
        _log.info("no pretrained branches for captures prepared as %s", wanted)
    return _shipped()[1] == wanted


def _of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    chosen = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return {n: t.float() if t.dtype is torch.float16 else t for n, t in chosen.items()}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
