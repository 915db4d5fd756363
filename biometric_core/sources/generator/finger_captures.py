"""Live-scan captures of generated fingers.

The identity (`finger.Finger`) is grown once; a capture adds what changes from touch to touch:
place, rotation, elastic skin, pressure, moisture, the area in contact, scratches, blur and noise.
"""

import cv2
import numpy as np

from biometric_core.schemas import Float32Array, UInt8Array
from biometric_core.sources.generator.finger import MARGIN, Finger, finger_of
from biometric_core.sources.generator.noise import Seed, normal, rng_of, smooth_field

SHAPE = (192, 160)


def render_finger(
    identity_seed: Seed, impression_seed: Seed, shape: tuple[int, int] = SHAPE
) -> UInt8Array:
    """One capture of one finger: dark ridges on a bright ground, 8 to 9 pixels apart.

    Args:
        identity_seed: the finger; growing its ridges is most of the work and is kept between calls,
            so go through a finger's impressions one after the other.
        impression_seed: everything that differs between captures.
        shape: (height, width) of the sensor; the same finger on another shape is another finger.

    Returns:
        uint8 (height, width).
    """
    finger, rng = finger_of(identity_seed, shape), rng_of(impression_seed)
    ridges, contact = _touch(finger, rng, shape)
    pressure = rng.normal(0, 0.22) + smooth_field(rng, shape, 3, 0.20)
    dryness = np.clip(rng.normal(0.35, 0.25) + smooth_field(rng, shape, 4, 0.20), 0, 1.2)
    grain = cv2.GaussianBlur(normal(rng, shape, 3.5), (0, 0), 1.1)
    # Light touches at the rim leave thin, broken ridges.
    ink = ridges + pressure - 0.9 * dryness * np.maximum(grain, -0.2) - 1.6 * (1 - contact)
    ink = 1 / (1 + np.exp(np.clip(-3.2 * ink, -30, 30)))
    ink *= np.clip(2.5 * contact, 0, 1)
    _scratch(ink, rng)
    return _sensor(ink, rng)


def _touch(
    finger: Finger, rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """The ridges as this touch lays them on the sensor, and how firmly each pixel is touched."""
    height, width = shape
    angle = float(np.clip(rng.normal(0, 0.14), -0.4, 0.4))
    shift_x, shift_y = np.clip(rng.normal(0, 7.0, 2), -18, 18)
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2 - np.float32(shift_x)
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2 - np.float32(shift_y)
    stretch = rng.normal(1, 0.012)
    cosine, sine = np.float32(np.cos(angle) * stretch), np.float32(np.sin(angle) * stretch)
    u, v = cosine * x + sine * y, cosine * y - sine * x
    across = u + width / 2 + MARGIN + smooth_field(rng, shape, 4, 1.7)
    down = v + height / 2 + MARGIN + smooth_field(rng, shape, 4, 1.7)
    ridges = cv2.remap(finger.ridges, across, down, cv2.INTER_LINEAR, borderValue=-1)
    # Partial contact: the middle of the touch wanders over the finger, its size varies.
    centre = np.clip(rng.normal(0, 0.05, 2), -0.12, 0.12) * (width, height)
    area = float(np.clip(rng.normal(0.97, 0.07), 0.75, 1.1))
    a, b = (finger.width * width * area, finger.length * height * area)
    distance = np.abs((u - centre[0]) / a) ** 2.4 + np.abs((v - centre[1]) / b) ** 2.4
    distance += smooth_field(rng, shape, 9, 0.06)
    contact = np.clip((1.12 - distance) / 0.3, 0, 1)
    return np.asarray(ridges, np.float32), np.asarray(contact, np.float32)


def _scratch(ink: Float32Array, rng: np.random.Generator) -> None:
    """White lines across the touch, in place: dirt and cuts that heal."""
    height, width = ink.shape
    layer = np.zeros(ink.shape, np.uint8)
    for _ in range(int(rng.poisson(0.7))):
        x, y = rng.integers(0, width), rng.integers(0, height)
        dx, dy = rng.normal(0, 0.25 * width, 2)
        end = (int(x + dx), int(y + dy))
        cv2.line(layer, (int(x), int(y)), end, int(rng.integers(120, 255)), 1, cv2.LINE_AA)
    ink *= 1 - layer.astype(np.float32) / 255


def _sensor(ink: Float32Array, rng: np.random.Generator) -> UInt8Array:
    """Gray levels, blur, noise and the latent smear of the platen; quantised."""
    ground, ridge = rng.uniform(222, 250), rng.uniform(15, 65)
    image = ground + smooth_field(rng, ink.shape, 3, 3.0)
    image += (ridge - image) * ink
    blur = rng.uniform(0.35, 0.85)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    image += normal(rng, ink.shape, rng.uniform(2.0, 5.0))
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
