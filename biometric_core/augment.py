"""Random distortions of a training batch, drawn for each capture on its own.

torchvision's v2 transforms draw ONE transform for a whole batch, so the per-capture part is written
as one batched `grid_sample`. All randomness comes from the generator that is handed in.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as vision

from biometric_core.models.spec import QUARTERS, variants
from biometric_core.schemas import Modality

IRIS_ROLL = 1 / 24  # of a full turn, each way: 15 degrees of head tilt
IRIS_RADIAL = 0.04  # of the sheet's height: errors of the located circles
FINGER_TURN = math.radians(15)
FINGER_SHIFT = 0.06  # of the side
FINGER_SCALE = 0.05
FINGER_ELASTIC = 0.08  # of half the side: skin stretches by half a ridge and more
PRESSURE = 0.4  # standard deviations of the image
MOISTURE = 0.6
LIGHTING = 0.35
NOISE = 0.2
ERASED_SHARE = 0.5  # of captures lose a rectangle
PLAIN_SHARE = 0.5  # of captures are taken as they are, the rest as people who don't exist


def augment(modality: Modality, prepared: Tensor, generator: Generator) -> Tensor:
    """Distort standardised captures, each its own way.

    Args:
        modality: an iris is rolled around the circle, a finger turned, shifted and stretched.
        prepared: float32 (N, 2, H, W), image and mask as `standardise` gives them.
        generator: on the device of `prepared`.

    Returns:
        float32 (N, 2, H, W), a new tensor; the image is 0 where the mask is 0.
    """
    moved = (
        _warp_iris(prepared, generator)
        if modality is Modality.IRIS
        else (_warp_finger(prepared, generator))
    )
    image, mask = moved[:, :1], moved[:, 1:]
    if modality is Modality.FINGERPRINT:
        image = _press(image, generator)
        mask = mask * _contact(mask, generator)
    mask = mask * _rectangles(mask, generator)
    return torch.cat([_relight(image, generator) * (mask > 0), mask], dim=1)


def draw_variants(modality: Modality, count: int, generator: Generator) -> Tensor:
    """int64 (count,) in [0, variants): 0, the true image, for `PLAIN_SHARE` of the captures."""
    device = generator.device
    other = torch.randint(1, variants(modality), (count,), generator=generator, device=device)
    plain = torch.rand(count, generator=generator, device=device) < PLAIN_SHARE
    return other.masked_fill(plain, 0)


def vary(prepared: Tensor, variant: Tensor) -> Tensor:
    """Mirror (odd variants) and roll by quarters of the width (variant // 2).

    Args:
        prepared: float32 (N, 2, H, W).
        variant: int64 (N,), as `draw_variants` gives.

    Returns:
        float32 (N, 2, H, W), a new tensor.
    """
    width = prepared.shape[3]
    columns = torch.arange(width, device=prepared.device)
    mirrored = torch.where((variant % 2 == 1)[:, None], width - 1 - columns, columns)
    source = (mirrored + (variant // 2)[:, None] * (width // QUARTERS)) % width
    return prepared.gather(3, source[:, None, None, :].expand_as(prepared))


def _uniform(like: Tensor, *shape: int, generator: Generator) -> Tensor:
    """Uniform in [-1, 1] on the device of `like`."""
    return torch.rand(shape, generator=generator, device=like.device) * 2 - 1


def _warp_iris(prepared: Tensor, generator: Generator) -> Tensor:
    """Roll by a fraction of a turn; move the rows by a + b cos(angle) + c sin(angle)."""
    count, _, height, width = prepared.shape
    columns = torch.arange(width, device=prepared.device)
    roll = _uniform(prepared, count, 1, generator=generator) * IRIS_ROLL * width
    x = (columns + roll).remainder(width)[:, None, :].expand(count, height, width)
    angle = columns * (2 * math.pi / width)
    waves = torch.stack([torch.ones_like(angle), angle.cos(), angle.sin()])
    bend = _uniform(prepared, count, 3, generator=generator) * IRIS_RADIAL * height @ waves
    y = torch.arange(height, device=prepared.device)[None, :, None] + bend[:, None, :]
    # One more column, a copy of the first, makes the interpolation run around the circle.
    closed = torch.cat([prepared, prepared[..., :1]], dim=3)
    grid = torch.stack([x / width * 2 - 1, y / (height - 1) * 2 - 1], dim=3)
    return functional.grid_sample(closed, grid, padding_mode="border", align_corners=True)


def _warp_finger(prepared: Tensor, generator: Generator) -> Tensor:
    """Turn, scale, shift and stretch; what comes in from outside is masked."""
    count, _, height, width = prepared.shape
    draw = _uniform(prepared, count, 4, generator=generator)
    turn, scale = draw[:, 0] * FINGER_TURN, 1 + draw[:, 1] * FINGER_SCALE
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    shift = draw[:, 2:] * 2 * FINGER_SHIFT
    theta = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], dim=1)
    grid = functional.affine_grid(
        theta.view(count, 2, 3), list(prepared.shape), align_corners=False
    )
    bend = _uniform(prepared, count, 2, 5, 5, generator=generator) * FINGER_ELASTIC
    smooth = functional.interpolate(bend, size=(height, width), mode="bilinear", align_corners=True)
    return functional.grid_sample(prepared, grid + smooth.permute(0, 2, 3, 1), align_corners=False)


def _press(image: Tensor, generator: Generator) -> Tensor:
    """Thicker or thinner, harder or softer ridges from place to place, broken by moisture."""
    count = len(image)
    level = PRESSURE * _field(image, 3, generator)
    hardness = torch.exp(_uniform(image, count, 1, 1, 1, generator=generator) * 0.8)
    patches = _field(image, 6, generator) + _uniform(image, count, 1, 1, 1, generator=generator)
    grain = torch.randn(
        (count, 1, image.shape[2] // 2, image.shape[3] // 2),
        generator=generator,
        device=image.device,
    )
    grain = functional.interpolate(grain, size=image.shape[2:], mode="bilinear")
    broken = image + MOISTURE * patches.clamp(min=0) * grain
    return 1.3 * torch.tanh(hardness * (broken + level))


def _contact(mask: Tensor, generator: Generator) -> Tensor:
    """float32 (N, 1, H, W): 1 inside an ellipse that a lighter or displaced touch would leave."""
    count, _, height, width = mask.shape
    draw = _uniform(mask, 5, count, 1, 1, 1, generator=generator)
    y = torch.linspace(-1, 1, height, device=mask.device)[:, None]
    x = torch.linspace(-1, 1, width, device=mask.device)[None, :]
    across, down = 1.2 + 0.5 * draw[0], 1.3 + 0.5 * draw[1]
    distance = ((x - 0.5 * draw[2]) / across).square() + ((y - 0.5 * draw[3]) / down).square()
    return ((distance < 1) | (draw[4] > 0)).float()


def _field(like: Tensor, cells: int, generator: Generator) -> Tensor:
    """A smooth random field in [-1, 1] for each capture, float32 (N, 1, H, W)."""
    coarse = _uniform(like, len(like), 1, cells, cells, generator=generator)
    return functional.interpolate(coarse, size=like.shape[2:], mode="bilinear", align_corners=True)


def _relight(image: Tensor, generator: Generator) -> Tensor:
    """Contrast, a smooth field of light, defocus and noise."""
    count, _, height, width = image.shape
    gain = 1 + 0.25 * _uniform(image, count, 1, 1, 1, generator=generator)
    light = functional.interpolate(
        LIGHTING * _uniform(image, count, 1, 2, 3, generator=generator),
        size=(height, width),
        mode="bilinear",
        align_corners=True,
    )
    # One blur for the batch, mixed in by a share of its own for each capture.
    blurred = vision.gaussian_blur(image, [3, 3], [1.0, 1.0])
    share = _uniform(image, count, 1, 1, 1, generator=generator).clamp(min=0)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    level = NOISE * _uniform(image, count, 1, 1, 1, generator=generator).clamp(min=0)
    return torch.lerp(image, blurred, share) * gain + light + level * noise


def _rectangles(mask: Tensor, generator: Generator) -> Tensor:
    """float32 (N, 1, H, W): 0 inside a random rectangle of some captures, 1 elsewhere."""
    count, _, height, width = mask.shape
    draw = torch.rand((5, count, 1, 1, 1), generator=generator, device=mask.device)
    y = torch.linspace(0, 1, height, device=mask.device)[:, None]
    x = torch.linspace(0, 1, width, device=mask.device)[None, :]
    half = 0.05 + 0.15 * draw[2:4]
    inside = ((y - draw[0]).abs() < half[0]) & ((x - draw[1]).abs() < half[1])
    return (~(inside & (draw[4] < ERASED_SHARE))).float()
