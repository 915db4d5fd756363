"""The optimiser of a fit, and its state as plain tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biometric_core.config import Config
from biometric_core.recogniser.network import BiometricNet
from biometric_core.schemas import Modality


def make_optimiser(
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


def tensors_of(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state, on the CPU, by `<parameter number>.<name>`."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": tensor.detach().cpu().clone()
        for number, tensors in state.items()
        for name, tensor in tensors.items()
    }


def load_tensors(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `tensors_of` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        # A copy: the optimiser updates these in place, and the loaded state must stay as it is.
        state.setdefault(int(number), {})[name] = tensor.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
