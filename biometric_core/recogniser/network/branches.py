"""One convolutional encoder per modality.

Plain convolutions, not depthwise ones: in bfloat16 they run twice as fast, depthwise ones slower
(measured, `docs/decisions/`). The head keeps a coarse grid of the image instead of pooling it away:
where a texture lies on the iris (angle, radius) or relative to the finger's core is identity.
"""

import itertools

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from biometric_core.schemas import Modality

INPUT_SHAPES = {Modality.IRIS: (64, 256), Modality.FINGERPRINT: (128, 128)}
STEM_CHANNELS = 16
REDUCTION = 16  # input pixels per cell of the last feature map, each way
HEAD_CHANNELS = 32


# Of a fingerprint the middle, around the core: further out, pressure decides what is seen.
WINDOWS = {Modality.FINGERPRINT: 128}


def standardise(modality: Modality, images: Tensor, masks: Tensor) -> Tensor:
    """Bring captures to the network's input: zero mean and unit variance over the usable pixels.

    Args:
        modality: decides the size of the output.
        images: (N, H, W), uint8 or float; any scale.
        masks: (N, H, W), above zero where the image is usable.

    Returns:
        float32 (N, 2, h, w): the image (0 where masked, clamped to [-4, 4]) and the mask in [0, 1].
    """
    images, masks = _window(modality, images), _window(modality, masks)
    mask = (masks > 0).float()
    stacked = torch.stack([images.float() * mask, mask], dim=1)
    resized = _area(stacked, *INPUT_SHAPES[modality])
    weight = resized[:, 1:]
    image = resized[:, :1] / weight.clamp(min=1e-3)
    usable = weight.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)
    centred = image - (image * weight).sum(dim=(2, 3), keepdim=True) / usable
    variance = (centred.square() * weight).sum(dim=(2, 3), keepdim=True) / usable
    scaled = centred / variance.sqrt().clamp(min=1e-3)
    return torch.cat([scaled.clamp(-4, 4) * (weight > 0), weight], dim=1)


def _area(maps: Tensor, height: int, width: int) -> Tensor:
    """Means over areas. Where these are whole pixels, as usual, it is three times torch's speed."""
    down, across = maps.shape[-2] // height, maps.shape[-1] // width
    if maps.shape[-2:] != (down * height, across * width):
        return functional.interpolate(maps, size=(height, width), mode="area")
    total = maps[..., ::down, ::across]
    for i, j in itertools.product(range(down), range(across)):
        if i or j:
            total = total + maps[..., i::down, j::across]
    return total / (down * across)


def _window(modality: Modality, maps: Tensor) -> Tensor:
    if modality not in WINDOWS:
        return maps
    top, left = (max(0, (side - WINDOWS[modality]) // 2) for side in maps.shape[-2:])
    return maps[..., top : maps.shape[-2] - top, left : maps.shape[-1] - left]


def convolution(
    channels_in: int, channels: int, size: int, *, stride: int = 1, activated: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless they are added to something, ReLU.

    What torchvision's `Conv2dNormActivation` makes, with the same names of tensors; importing that
    loads a compiler and doubles the start of every process.
    """
    layers = [
        nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activated else []))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a projected short cut (He et al. 2016), halving the resolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels_in, channels, 3, stride=2),
            convolution(channels, channels, 3, activated=False),
        )
        self.short_cut = nn.Sequential(
            nn.AvgPool2d(2), convolution(channels_in, channels, 1, activated=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H / 2, W / 2)."""
        return functional.relu(self.body(maps) + self.short_cut(maps))


class Branch(nn.Module):
    """Encoder of one modality: stem, three residual blocks, linear layer over the whole grid."""

    def __init__(self, modality: Modality, width: int, embedding_dim: int) -> None:
        super().__init__()
        height, breadth = (side // REDUCTION for side in INPUT_SHAPES[modality])
        self.features = nn.Sequential(
            convolution(2, STEM_CHANNELS, 5, stride=2),
            ResidualBlock(STEM_CHANNELS, width),
            ResidualBlock(width, 2 * width),
            ResidualBlock(2 * width, 4 * width),
            convolution(4 * width, HEAD_CHANNELS, 1),
        )
        self.project = nn.Linear(HEAD_CHANNELS * height * breadth, embedding_dim, bias=False)
        self.norm = nn.BatchNorm1d(embedding_dim)

    def forward(self, prepared: Tensor) -> Tensor:
        """Encode `standardise`d captures.

        Args:
            prepared: float32 (N, 2, h, w); N at least 2 in training mode (batch statistics).

        Returns:
            float32 (N, embedding_dim), each of length 1.
        """
        maps = self.features(prepared.contiguous(memory_format=torch.channels_last))
        projected: Tensor = self.project(maps.flatten(1)).float()
        return functional.normalize(self.norm(projected), dim=1)
