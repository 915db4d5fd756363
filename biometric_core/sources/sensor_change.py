"""What a change of the sensor does to its captures: a simulation, to be named as one.

The order is that of a camera: optics (defocus), light (gradient), pixels (resolution), electronics
(gain, offset, gamma), noise, and compression at the end.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from biometric_core.errors import ConfigError
from biometric_core.schemas import Float32Array, UInt8Array

_RANGES = {
    "blur_sigma": (0.0, 10.0),
    "resolution": (0.1, 1.0),
    "gain": (0.05, 5.0),
    "offset": (-255.0, 255.0),
    "gamma": (0.2, 5.0),
    "noise_sigma": (0.0, 100.0),
    "gradient": (0.0, 1.0),
    "jpeg_quality": (1, 100),
}


@dataclass(frozen=True)
class SensorChange:
    """Difference between two sensors; the defaults change nothing.

    Attributes:
        blur_sigma: standard deviation of the defocus in pixels, [0, 10].
        resolution: pixels along a side relative to before, [0.1, 1]; the image keeps its size, as
            drivers scale to a nominal resolution.
        gain: contrast about mid-gray (127.5), [0.05, 5].
        offset: gray levels added, [-255, 255].
        gamma: exponent on the gray level in [0, 1]; above 1 darkens, [0.2, 5].
        noise_sigma: standard deviation of white noise in gray levels, [0, 100].
        gradient: how much brighter one border is than the middle, [0, 1]; the direction is random.
        jpeg_quality: of a lossy compression, 1 to 100; None compresses nothing.

    Raises:
        ConfigError: a value is out of range or not finite.
    """

    blur_sigma: float = 0.0
    resolution: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    noise_sigma: float = 0.0
    gradient: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), _RANGES[field.name]
            if value is not None and not low <= value <= high:
                raise ConfigError(
                    f"sensor change: {field.name} must lie in [{low}, {high}], got {value}"
                )


WORN = SensorChange(blur_sigma=1.5, gain=0.55, offset=16.0, noise_sigma=7.0, gradient=0.3)
"""A worn sensor, which the shipped branches have learnt to look through (`pretraining`)."""

CHANGED = SensorChange(blur_sigma=2.2, gain=0.55, offset=16.0, noise_sigma=8.0, gradient=0.3)
"""A worn and badly focused sensor, beyond what the shipped branches know.

Of generated people 98 % of the captures can still be acquired; the champion's likelihood ratios
mislead on them until a model has been trained and calibrated with such captures.
"""


def apply(image: UInt8Array, change: SensorChange, rng: np.random.Generator) -> UInt8Array:
    """The capture that the changed sensor would have made.

    Args:
        image: uint8 (H, W).
        change: what is different.
        rng: for the noise and the direction of the gradient; the same state gives the same bytes.

    Returns:
        uint8 (H, W), a new array.

    Raises:
        ValueError: the image is not uint8 (H, W).
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"image must be uint8 (H, W), got {image.dtype} {image.shape}")
    pixels: Float32Array = image.astype(np.float32)
    if change.blur_sigma > 0:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), change.blur_sigma), np.float32)
    if change.gradient > 0:
        angle = rng.uniform(0, 2 * np.pi)
        x = np.linspace(-1, 1, image.shape[1], dtype=np.float32)[None, :] * np.cos(angle)
        y = np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None] * np.sin(angle)
        pixels = pixels * (1 + change.gradient * (x + y))
    if change.resolution < 1:
        pixels = _coarser(pixels, change.resolution)
    pixels = (pixels - 127.5) * change.gain + 127.5 + change.offset
    if change.gamma != 1:
        pixels = np.asarray(255 * (np.clip(pixels, 0, 255) / 255) ** change.gamma, np.float32)
    if change.noise_sigma > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        pixels = pixels + noise * change.noise_sigma
    changed = np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)
    return changed if change.jpeg_quality is None else _compressed(changed, change.jpeg_quality)


def _coarser(pixels: Float32Array, resolution: float) -> Float32Array:
    height, width = pixels.shape
    size = max(1, round(width * resolution)), max(1, round(height * resolution))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def _compressed(image: UInt8Array, quality: int) -> UInt8Array:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"an image of {image.shape} can't be compressed")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
