"""Geometric distortion of captures: where each cell of the network's input is taken from.

It works on the stored uint8 captures, before they are standardised. On the CPU all captures of a
step are one tall image to OpenCV: a third of the time of torch's `grid_sample`, which does it on
other devices.
"""

import math
from functools import cache

import cv2
import torch
import torch.nn.functional as functional
from torch import Generator, Tensor

from biometric_core.recogniser.network.branches import INPUT_SHAPES, WINDOWS
from biometric_core.recogniser.network.spec import QUARTERS
from biometric_core.schemas import Modality

IRIS_ROLL = 1 / 24  # of a full turn, each way: 15 degrees of head tilt
IRIS_RADIAL = 0.04  # of the sheet's height: errors of the located circles
FINGER_TURN = math.radians(15)
FINGER_SHIFT = 0.06  # of the side
FINGER_SCALE = 0.05
FINGER_ELASTIC = 0.08  # of half the side: skin stretches by half a ridge and more
_LEVEL = 128  # the mean of a prepared capture
_CONTROL = 5  # points along each side of a finger that are moved by themselves
_MAX_ROWS = 32_000  # OpenCV addresses the rows of an image with 16 bits


def warp(
    modality: Modality, images: Tensor, masks: Tensor, variant: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Move captures, each its own way, into the network's input.

    An iris is rolled around the circle and its circles are displaced; a finger is turned, shifted,
    scaled and stretched. What comes in from outside a finger's capture is masked.

    Args:
        modality: what they show.
        images: uint8 (N, H, W), as they were prepared: of mean level where masked, so that
            nothing dark bleeds in from there.
        masks: uint8 (N, H, W), above zero where usable.
        variant: int64 (N,): 0 is the true image, odd ones are mirrored, and an iris is rolled by
            `variant // 2` quarters of a turn (`spec.variants`).
        generator: on the device of `images`.

    Returns:
        Gray levels, float32 (N, h, w), and where they are usable, float32 (N, h, w), 0 or 1.
    """
    if modality is Modality.IRIS:
        x, y = _iris_sources(images, variant, generator)
    else:
        x, y = _finger_sources(images, variant, generator)
        # A frame that is masked stands for all that lies outside.
        images = functional.pad(images, (1, 1, 1, 1), value=_LEVEL)
        masks = functional.pad(masks, (1, 1, 1, 1))
        x.add_(1).clamp_(0, images.shape[2] - 1)
        y.add_(1).clamp_(0, images.shape[1] - 1)
    sample = _sampled_by_opencv if images.device.type == "cpu" else _sampled
    return sample(images, masks, x, y)


def uniform(device: torch.device, *shape: int, generator: Generator) -> Tensor:
    """Uniform in [-1, 1], float32."""
    return torch.rand(shape, generator=generator, device=device) * 2 - 1


@cache
def ramps(cells: int, size: int, device: torch.device) -> Tensor:
    """Linear interpolation of `cells` values to `size` as a matrix, float32 (cells, size)."""
    unit = torch.eye(cells, device=device)[None]
    return functional.interpolate(unit, size=size, mode="linear", align_corners=True)[0]


def _iris_sources(images: Tensor, variant: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Roll; move the rows by a + b cos(angle) + c sin(angle). Pixels, float32 (N, h, w) each."""
    count, rows, columns = images.shape
    height, width = INPUT_SHAPES[Modality.IRIS]
    device = images.device
    x = _centres(width, columns, device)
    x = torch.where((variant % 2 == 1)[:, None], columns - 1 - x, x)
    roll = uniform(device, count, 1, generator=generator) * IRIS_ROLL * columns
    # Whole pixels of the capture: each cell stays the mean of the pixels it covers.
    x = (x + (variant // 2)[:, None] * (columns // QUARTERS) + roll.round()).remainder(columns)
    angle = torch.arange(width, device=device) * (2 * math.pi / width)
    waves = torch.stack([torch.ones_like(angle), angle.cos(), angle.sin()])
    bend = uniform(device, count, 3, generator=generator) * IRIS_RADIAL * rows @ waves
    y = (_centres(height, rows, device)[:, None] + bend[:, None, :]).clamp_(0, rows - 1)
    return x[:, None, :].expand_as(y).contiguous(), y


def _finger_sources(images: Tensor, variant: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Turn, scale, shift and stretch around the centre. Pixels, float32 (N, h, w) each."""
    count, rows, columns = images.shape
    height, width = INPUT_SHAPES[Modality.FINGERPRINT]
    device = images.device
    draw = uniform(device, count, 4, generator=generator)
    turn, scale = draw[:, 0] * FINGER_TURN, 1 + draw[:, 1] * FINGER_SCALE
    cosine, sine = (turn.cos() * scale)[:, None, None], (turn.sin() * scale)[:, None, None]
    shift = (draw[:, 2:] * 2 * FINGER_SHIFT)[:, :, None, None]
    points = torch.linspace(-1, 1, _CONTROL, device=device)
    bend = uniform(device, count, 2, _CONTROL, _CONTROL, generator=generator) * FINGER_ELASTIC
    across, down = points[None, None, :], points[None, :, None]
    x = cosine * across - sine * down + shift[:, 0] + bend[:, 0]
    y = sine * across + cosine * down + shift[:, 1] + bend[:, 1]
    x = torch.where((variant % 2 == 1)[:, None, None], -x, x)
    half_width, half_height = (
        min(side, WINDOWS[Modality.FINGERPRINT]) / 2 for side in (columns, rows)
    )
    # Linear between the points: a turn is linear, and so is the stretching from point to point.
    spread = ramps(_CONTROL, height, device).T, ramps(_CONTROL, width, device)
    return (
        (spread[0] @ x @ spread[1]).mul_(half_width - 0.5).add_((columns - 1) / 2),
        (spread[0] @ y @ spread[1]).mul_(half_height - 0.5).add_((rows - 1) / 2),
    )


def _centres(cells: int, pixels: int, device: torch.device) -> Tensor:
    """The middle of each of `cells` in pixels of the side that they cover, float32 (cells,)."""
    return (torch.arange(cells, device=device) + 0.5) * (pixels / cells) - 0.5


def _sampled_by_opencv(
    images: Tensor, masks: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    count, rows, _ = images.shape
    y += (torch.arange(count) % (_MAX_ROWS // rows) * rows).float()[:, None, None]
    found = []
    for maps, how in ((images, cv2.INTER_LINEAR), (masks, cv2.INTER_NEAREST)):
        out = torch.empty(x.shape, dtype=torch.uint8)
        for start in range(0, count, _MAX_ROWS // rows):
            part = slice(start, start + _MAX_ROWS // rows)
            tall, map_x, map_y, target = (
                one[part].flatten(0, 1).numpy() for one in (maps, x, y, out)
            )
            # Beyond the last column of an iris lies the first one.
            cv2.remap(tall, map_x, map_y, how, dst=target, borderMode=cv2.BORDER_WRAP)
        found.append(out)
    return found[0].float(), found[1].clamp_(max=1).float()


def _sampled(images: Tensor, masks: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = images.shape[1:]
    grid = torch.stack([x * (2 / columns) - 1, y * (2 / (rows - 1)) - 1], dim=3)
    found = []
    for maps, how in ((images, "bilinear"), (masks, "nearest")):
        # One more column, a copy of the first, makes the interpolation run around the circle.
        closed = torch.cat([maps, maps[..., :1]], dim=2)[:, None].float()
        sampled = functional.grid_sample(closed, grid, how, "border", align_corners=True)
        found.append(sampled[:, 0])
    return found[0].round_(), found[1].clamp_(max=1)
