"""What stays the same between two captures of one generated eye: its iris and its surroundings."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from biometric_core.schemas import Float32Array
from biometric_core.sources.generator.noise import Seed, band_noise, rng_of

TEXTURE_SHAPE = (64, 512)  # radii from the pupil to the limbus, angles


@dataclass(frozen=True)
class Lashes:
    """How the lashes of an eye grow; lengths in pixels, shares in [0, 1]."""

    upper: int
    lower: int
    length: float
    hanging: float  # share of upper lashes in front of the eye rather than above it
    darkness: float


@dataclass(frozen=True)
class Eye:
    """One generated eye.

    Attributes:
        texture: float32 (64, 512), gray levels around the iris' mean, rows from pupil to limbus.
        limbus_radius: pixels.
        pupil_ratio: habitual pupil / limbus radius.
        iris_level, sclera_level, skin_level: mean gray levels in [0, 255].
        aperture: half width of the opening between the lids, in limbus radii.
        upper, lower: usual height of the lids' apex over the iris' centre, in limbus radii.
        tilt: slope of the line between the corners of the eye.
        brow: share of the eyebrow in sight, [0, 1].
        lashes: see `Lashes`.
    """

    texture: Float32Array
    limbus_radius: float
    pupil_ratio: float
    iris_level: float
    sclera_level: float
    skin_level: float
    aperture: float
    upper: float
    lower: float
    tilt: float
    brow: float
    lashes: Lashes


@lru_cache(maxsize=4)
def eye_of(seed: Seed) -> Eye:
    """The eye that `seed` stands for (kept for the next impressions of it)."""
    rng = rng_of(seed)
    texture = _texture(rng)
    texture.setflags(write=False)
    iris_level = rng.uniform(92, 138)
    return Eye(
        texture=texture,
        limbus_radius=rng.uniform(49, 60),
        pupil_ratio=rng.uniform(0.38, 0.52),
        iris_level=iris_level,
        sclera_level=iris_level + rng.uniform(40, 75),
        skin_level=rng.uniform(165, 225),
        aperture=rng.uniform(2.0, 2.6),
        upper=rng.uniform(0.60, 1.05),
        lower=rng.uniform(0.80, 1.08),
        tilt=rng.uniform(-0.10, 0.10),
        brow=max(0.0, rng.uniform(-0.8, 1.0)),
        lashes=Lashes(
            upper=int(rng.integers(30, 95)),
            lower=int(rng.integers(8, 30)),
            length=rng.uniform(13, 27),
            hanging=rng.uniform(0.0, 0.8),
            darkness=rng.uniform(0.45, 0.8),
        ),
    )


def _texture(rng: np.random.Generator) -> Float32Array:
    """Fibres, spots, furrows, crypts, collarette and the darker limbus, float32 (64, 512)."""
    radius = np.linspace(0, 1, TEXTURE_SHAPE[0], dtype=np.float32)[:, None]
    collarette = _collarette(rng)
    outside = 1 / (1 + np.exp(-(radius - collarette) / 0.03))
    fibres = band_noise(rng, TEXTURE_SHAPE, (9.0, 1.6)) + 0.8 * band_noise(
        rng, TEXTURE_SHAPE, (12.0, 3.2)
    )
    spots = band_noise(rng, TEXTURE_SHAPE, (1.6, 2.4)) + band_noise(rng, TEXTURE_SHAPE, (3.2, 5.5))
    furrows = band_noise(rng, TEXTURE_SHAPE, (1.5, 28.0))
    clouds = band_noise(rng, TEXTURE_SHAPE, (8.0, 14.0))
    texture = fibres * rng.uniform(3.2, 5.5) * (0.55 + 0.45 * outside)
    texture += spots * rng.uniform(2.2, 4.2)
    texture += furrows * rng.uniform(0.6, 2.2) * outside
    texture += clouds * rng.uniform(3.0, 5.0)
    texture += 9 * np.exp(-(((radius - collarette) / 0.045) ** 2)) * rng.uniform(0.4, 1.2)
    texture -= 10 * (1 - outside) * rng.uniform(0.2, 1.0)  # the pupillary zone is darker
    texture -= _crypts(rng, collarette) * rng.uniform(14, 30)
    texture -= 34 * np.clip((radius - 0.82) / 0.18, 0, 1) ** 2 * rng.uniform(0.5, 1.0)
    return np.asarray(texture, np.float32)


def _collarette(rng: np.random.Generator) -> Float32Array:
    """Radius in [0, 1] of the zigzag line between the two zones of the iris, float32 (1, 512)."""
    wobble = band_noise(rng, (1, TEXTURE_SHAPE[1]), (1.0, 5.0), None)
    return np.asarray(rng.uniform(0.22, 0.36) + 0.028 * wobble, np.float32)


def _crypts(rng: np.random.Generator, collarette: Float32Array) -> Float32Array:
    """Dark, soft-edged openings, most of them around the collarette, [0, 1]."""
    rows, columns = TEXTURE_SHAPE
    canvas = np.zeros((rows, 3 * columns), np.uint8)  # three turns: an opening may cross angle 0
    for _ in range(int(rng.integers(6, 34))):
        angle = int(rng.integers(columns))
        near = float(collarette[0, angle]) + 0.02 + abs(rng.normal(0, 0.2))
        row = int(np.clip(near, 0.05, 0.9) * rows)
        axes = (int(rng.integers(2, 8)), int(rng.integers(2, 7)))
        slope, depth = float(rng.uniform(-30, 30)), int(rng.integers(90, 255))
        for turn in range(3):
            centre = (angle + turn * columns, row)
            cv2.ellipse(canvas, centre, axes, slope, 0, 360, depth, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(canvas, (0, 0), 1.2)[:, columns : 2 * columns]
    return np.asarray(soft.astype(np.float32) / 255, np.float32)
