"""Random distortions of a training batch, drawn for each capture on its own.

torchvision's v2 transforms draw ONE transform for a whole batch. All randomness comes from the
generator that is handed in. It must cost next to nothing beside the network's step: the geometry
is done on uint8 (`warp`), smooth fields are products of small matrices, noise comes from a strip.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Generator, Tensor

from biometric_core.recogniser.network.branches import INPUT_SHAPES
from biometric_core.recogniser.network.spec import variants
from biometric_core.schemas import Modality
from biometric_core.training.warping import ramps, uniform, warp

PRESSURE = 0.4  # standard deviations of the image
MOISTURE = 0.6
LIGHTING = 0.35
NOISE = 0.2
ERASED_SHARE = 0.5  # of captures lose a rectangle
PLAIN_SHARE = 0.5  # of captures are taken as they are, the rest as people who don't exist
_STRIP = 8  # captures' worth of noise are drawn for a step
_SOME_ROWS = 4
_PART = 16  # captures that are distorted together on the CPU: their pixels stay in its cache


def draw_variants(modality: Modality, count: int, generator: Generator) -> Tensor:
    """int64 (count,) in [0, variants): 0, the true image, for `PLAIN_SHARE` of the captures."""
    device = generator.device
    other = torch.randint(1, variants(modality), (count,), generator=generator, device=device)
    plain = torch.rand(count, generator=generator, device=device) < PLAIN_SHARE
    return other.masked_fill(plain, 0)


def augment(
    modality: Modality, images: Tensor, masks: Tensor, variant: Tensor, generator: Generator
) -> Tensor:
    """Distort captures, each its own way, and standardise them.

    Args:
        modality: what they show.
        images: uint8 (N, H, W).
        masks: uint8 (N, H, W), above zero where usable.
        variant: int64 (N,), as `draw_variants` gives.
        generator: on the device of `images`.

    Returns:
        float32 (N, 2, h, w): image and mask, as `standardise` gives them; the mask is 0 or 1.
    """
    size = _PART if images.device.type == "cpu" else max(1, len(images))
    noise = _Noise.drawn(INPUT_SHAPES[modality], generator)
    out = images.new_empty((len(images), 2, *INPUT_SHAPES[modality]), dtype=torch.float32)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        moved = warp(modality, images[part], masks[part], variant[part], generator)
        image, usable = _standardised(*moved, out[part])
        if modality is Modality.FINGERPRINT:
            _press(image, noise, generator)
            _lift(usable, generator)
        _erase(usable, generator)
        _relight(image, noise, generator)
        image.mul_(usable)
    return out


def _standardised(gray: Tensor, usable: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Image and mask as views of `out`; the level is measured on a quarter of the rows."""
    some, share = gray[:, ::_SOME_ROWS], usable[:, ::_SOME_ROWS]
    count = share.sum(dim=(1, 2), keepdim=True).clamp_(min=1)
    mean = (some * share).sum(dim=(1, 2), keepdim=True) / count
    spread = ((some - mean).square_() * share).sum(dim=(1, 2), keepdim=True) / count
    factor = 1 / spread.sqrt_().clamp_(min=1e-3)
    image = torch.addcmul(-mean * factor, gray, factor, out=out[:, 0]).clamp_(-4, 4)
    return image, out[:, 1].copy_(usable)


@dataclass(frozen=True)
class _Noise:
    """Strips of noise that all captures of a step cut theirs out of: drawing it is slow.

    Attributes:
        white: of unit variance, float32 (P,).
        grains: in grains of two pixels, float32 (P,), row by row.
        width: of a row.
    """

    white: Tensor
    grains: Tensor
    width: int

    @classmethod
    def drawn(cls, shape: tuple[int, int], generator: Generator) -> "_Noise":
        height, width = _STRIP * shape[0], shape[1]
        on: dict[str, Any] = {"generator": generator, "device": generator.device}
        coarse = torch.randn((1, 1, height // 2, width // 2), **on)
        grains = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
        return cls(torch.randn(height * width, **on), grains.flatten(), width)

    def cut(self, strip: Tensor, like: Tensor, step: int, generator: Generator) -> Tensor:
        """A stretch of a strip for each capture, float32 (N, h, w), from a multiple of `step`."""
        size = like[0].numel()
        places = (len(strip) - size) // step + 1
        start = torch.randint(places, (len(like),), generator=generator, device=like.device)
        return strip.unfold(0, size, step)[start].view(like.shape)


def _press(image: Tensor, noise: _Noise, generator: Generator) -> None:
    """Thicker or thinner, harder or softer ridges from place to place, broken by moisture."""
    level = _field(image, 3, 3, PRESSURE, generator)
    hardness = torch.exp(_each(image, generator) * 0.8)
    patches = _field(image, 6, 6, MOISTURE, generator).add_(MOISTURE * _each(image, generator))
    image.addcmul_(patches.clamp_(min=0), noise.cut(noise.grains, image, noise.width, generator))
    image.add_(level).mul_(hardness)
    # 1.3 x / sqrt(1 + x^2): saturates as a tanh does, at a quarter of its cost.
    image.mul_(image.square().add_(1).rsqrt_()).mul_(1.3)


def _lift(usable: Tensor, generator: Generator) -> None:
    """Keep the ellipse that a lighter or displaced touch would leave, in half of the captures."""
    x, y = _axes(usable)
    draw = uniform(usable.device, 5, len(usable), 1, 1, generator=generator)
    across = ((x - 0.5 * draw[2]) / (1.2 + 0.5 * draw[0])).square()
    down = ((y - 0.5 * draw[3]) / (1.3 + 0.5 * draw[1])).square()
    # Compared in place: a float 0 or 1 comes of it, and float is what multiplies fast.
    usable.mul_((across.masked_fill(draw[4] > 0, -4) + down).lt_(1))


def _erase(usable: Tensor, generator: Generator) -> None:
    """Take a random rectangle from some captures."""
    x, y = _axes(usable)
    draw = uniform(usable.device, 4, len(usable), 1, 1, generator=generator)
    erased = torch.rand((len(usable), 1, 1), generator=generator, device=usable.device)
    half = 0.25 + 0.15 * draw[2:]
    rows = ((y - draw[0]).abs() < half[0]) & (erased < ERASED_SHARE)
    columns = (x - draw[1]).abs() < half[1]
    usable.mul_(1 - rows.float() * columns.float())


def _relight(image: Tensor, noise: _Noise, generator: Generator) -> None:
    """Contrast, a smooth field of light, defocus and noise."""
    blurred = _each(image, generator).clamp(min=0)
    chosen = torch.nonzero(blurred[:, 0, 0])[:, 0]
    image[chosen] = torch.lerp(image[chosen], _blurred(image[chosen]), blurred[chosen])
    image.mul_(1 + 0.25 * _each(image, generator))
    image.add_(_field(image, 2, 3, LIGHTING, generator))
    image.addcmul_(
        NOISE * _each(image, generator).clamp(min=0), noise.cut(noise.white, image, 1, generator)
    )


def _blurred(image: Tensor) -> Tensor:
    """Smoothed by (1, 2, 1) / 4 along both sides; the outermost pixels along one."""
    out = 2 * image
    out[:, :, 1:-1] += image[:, :, :-2]
    out[:, :, 1:-1] += image[:, :, 2:]
    out[:, :, [0, -1]] *= 2
    across = out / 4
    out = 2 * across
    out[:, 1:-1] += across[:, :-2]
    out[:, 1:-1] += across[:, 2:]
    out[:, [0, -1]] *= 2
    return out / 4


def _axes(like: Tensor) -> tuple[Tensor, Tensor]:
    """From -1 to 1 along the width, float32 (1, 1, w), and the height, (1, h, 1)."""
    height, width = like.shape[1:]
    x = torch.linspace(-1, 1, width, device=like.device)
    y = torch.linspace(-1, 1, height, device=like.device)
    return x[None, None, :], y[None, :, None]


def _each(like: Tensor, generator: Generator) -> Tensor:
    """One number in [-1, 1] for each capture, float32 (N, 1, 1)."""
    return uniform(like.device, len(like), 1, 1, generator=generator)


def _field(like: Tensor, rows: int, columns: int, size: float, generator: Generator) -> Tensor:
    """A smooth random field in [-size, size] for each capture, float32 (N, h, w)."""
    coarse = uniform(like.device, len(like), rows, columns, generator=generator) * size
    down, across = (
        ramps(cells, side, like.device)
        for cells, side in zip((rows, columns), like.shape[1:], strict=True)
    )
    return down.T @ coarse @ across
