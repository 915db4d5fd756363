"""Near-infrared images of generated eyes, with the truth about where the iris is.

The identity (`eye.Eye`) is drawn once; a capture adds what changes from one to the next: pupil size
and place, gaze, lids, lashes, head rotation, light, reflections, defocus and sensor noise.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from biometric_core.schemas import Float32Array, UInt8Array
from biometric_core.sources.generator.eye import TEXTURE_SHAPE, Eye, eye_of
from biometric_core.sources.generator.eyelids import Lids, draw_lashes, draw_skin
from biometric_core.sources.generator.noise import Seed, normal, rng_of, smooth_field

SHAPE = (240, 320)
ANGULAR_STRAIN = 0.016  # radians, standard deviation on average
RADIAL_STRAIN = 0.03  # of the way from the pupil to the limbus


@dataclass(frozen=True)
class Circle:
    """A circle in pixels; (0, 0) is the centre of the top left pixel."""

    x: float
    y: float
    r: float


@dataclass(frozen=True)
class IrisTruth:
    """What a localiser should find in a generated image.

    Attributes:
        pupil, limbus: the inner and the outer boundary of the iris.
        upper_lid, lower_lid: float32 (width,), the row of the lid's edge in every column.
        rotation: of the head, radians, counter-clockwise as seen in the image.
        visible: share of the iris that no lid covers (lashes and reflections not counted), [0, 1].
    """

    pupil: Circle
    limbus: Circle
    upper_lid: Float32Array
    lower_lid: Float32Array
    rotation: float
    visible: float


def render_eye(
    identity_seed: Seed, impression_seed: Seed, shape: tuple[int, int] = SHAPE
) -> tuple[UInt8Array, IrisTruth]:
    """One capture of one eye.

    Args:
        identity_seed: the eye; its texture is kept between calls, so go through an eye's
            impressions one after the other.
        impression_seed: everything that differs between captures.
        shape: (height, width); 240 x 320 is what the proportions are made for.

    Returns:
        uint8 (height, width) and the truth about it.
    """
    eye, rng = eye_of(identity_seed), rng_of(impression_seed)
    rotation = float(np.clip(rng.normal(0, 0.045), -0.12, 0.12))
    limbus, pupil = _circles(eye, rng, shape)
    lids = _lids(eye, rng, limbus, rotation, shape[1])
    image, iris = _eyeball(eye, rng, (pupil, limbus), rotation, shape)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    opening = lids.opening(rows)
    image *= 1 - 0.38 * np.exp(-np.maximum(rows - lids.upper, 0) / 7)  # the lid's shadow
    image += (draw_skin(eye, rng, lids, shape) - image) * (1 - opening)
    draw_lashes(image, eye.lashes, rng, lids)
    _reflections(image, rng, pupil, lids)
    truth = IrisTruth(
        pupil, limbus, lids.upper, lids.lower, rotation, float((iris * opening).sum() / iris.sum())
    )
    return _sensor(image, rng), truth


def _circles(eye: Eye, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Circle, Circle]:
    """Limbus and pupil of this capture; the pupil's centre lies up to 5 % of the radius off."""
    r = eye.limbus_radius * rng.uniform(0.96, 1.04) * shape[0] / SHAPE[0]
    x = shape[1] / 2 + float(np.clip(rng.normal(0, 0.05), -0.12, 0.12)) * shape[1]
    y = shape[0] / 2 + float(np.clip(rng.normal(0, 0.04), -0.10, 0.10)) * shape[0]
    ratio = float(np.clip(eye.pupil_ratio + rng.normal(0, 0.045), 0.30, 0.60))
    dx, dy = np.clip(rng.normal(0, 0.02, 2), -0.05, 0.05) * r
    return Circle(x, y, r), Circle(x + float(dx), y + float(dy), r * ratio)


def _lids(eye: Eye, rng: np.random.Generator, limbus: Circle, rotation: float, width: int) -> Lids:
    """Parabolic lids; where the eye looks decides where the iris lies between the corners."""
    gaze_x, gaze_y = rng.normal(0, 0.14), rng.normal(0, 0.07)
    upper = float(np.clip(eye.upper + rng.normal(0, 0.07), 0.55, 1.25))
    lower = float(np.clip(eye.lower + rng.normal(0, 0.06), 0.75, 1.25))
    drop = 0.16 + gaze_y  # the corners lie a little below the middle of the iris
    half = eye.aperture * limbus.r
    u = (np.arange(width, dtype=np.float32) - limbus.x - gaze_x * limbus.r) / half
    bow = np.maximum(0, 1 - u**2)
    corners = limbus.y + drop * limbus.r + u * half * (eye.tilt - np.tan(rotation))
    return Lids(
        upper=np.asarray(corners - (upper + drop) * limbus.r * bow, np.float32),
        lower=np.asarray(corners + (lower - drop) * limbus.r * bow, np.float32),
        u=np.asarray(u, np.float32),
    )


def _eyeball(
    eye: Eye,
    rng: np.random.Generator,
    circles: tuple[Circle, Circle],
    rotation: float,
    shape: tuple[int, int],
) -> tuple[Float32Array, Float32Array]:
    """Sclera, iris and pupil without lids, gray levels, and the share of iris in every pixel."""
    pupil, limbus = circles
    y, x = np.ogrid[: shape[0], : shape[1]]
    x, y = x.astype(np.float32), y.astype(np.float32)
    sclera = eye.sclera_level + smooth_field(rng, shape, 5, 5.0)
    sclera -= 20 * np.minimum(1, ((x - limbus.x) / (2.4 * limbus.r)) ** 2)
    to_limbus = np.hypot(x - limbus.x, y - limbus.y)
    inside = np.clip((limbus.r - to_limbus) / 5.0 + 0.5, 0, 1)  # the limbus is a soft edge
    hole = np.clip((pupil.r - np.hypot(x - pupil.x, y - pupil.y)) / 1.4 + 0.5, 0, 1)
    top, left = max(0, int(limbus.y - limbus.r) - 3), max(0, int(limbus.x - limbus.r) - 3)
    box = np.s_[top : int(limbus.y + limbus.r) + 4, left : int(limbus.x + limbus.r) + 4]
    texture = _unwrapped(eye.texture, circles, rotation, (x[:, box[1]], y[box[0]]), rng)
    # What the wet cornea mirrors lies over the tissue and is another each time.
    texture = texture * rng.uniform(0.75, 1.1) + smooth_field(rng, texture.shape, 9, 3.0)
    image = sclera
    iris_level = eye.iris_level + rng.normal(0, 4)
    image[box] += (iris_level + texture - image[box]) * inside[box]
    image += (rng.uniform(6, 22) - image) * hole
    return image, np.asarray(inside * (1 - hole), np.float32)


def _unwrapped(
    texture: Float32Array,
    circles: tuple[Circle, Circle],
    rotation: float,
    pixels: tuple[Float32Array, Float32Array],
    rng: np.random.Generator,
) -> Float32Array:
    """The polar texture at the `pixels` (x, y): the inverse of Daugman's rubber sheet.

    A pixel p lies on the circle with centre c(t) = pupil + t d and radius r(t) = rp + t D, where d
    and D lead from the pupil's centre and radius to the limbus'. |p - c(t)| = r(t) is a quadratic
    equation in t; the angle is that of p - c(t). Tissue is elastic: it never folds twice alike.
    """
    x, y = pixels
    pupil, limbus = circles
    dx, dy, dr = limbus.x - pupil.x, limbus.y - pupil.y, limbus.r - pupil.r
    qx, qy = x - pupil.x, y - pupil.y
    a = dx * dx + dy * dy - dr * dr
    b = qx * dx + qy * dy + pupil.r * dr
    c = qx * qx + qy * qy - pupil.r**2
    t = (b - np.sqrt(np.maximum(b * b - a * c, 0))) / a
    angle = cv2.phase(qx - t * dx, qy - t * dy) + np.float32(rotation)
    # Tissue near the pupil folds more than tissue near the limbus when the pupil opens.
    strain = rng.gamma(2.0, 0.5)
    angle += smooth_field(rng, angle.shape, 5, strain * ANGULAR_STRAIN)
    t += smooth_field(rng, angle.shape, 5, strain * RADIAL_STRAIN)
    t += 0.5 * (pupil.r / limbus.r - 0.45) * np.clip(t, 0, 1) * (1 - np.clip(t, 0, 1))
    rows, columns = TEXTURE_SHAPE
    padded = cv2.copyMakeBorder(texture, 0, 0, 2, 2, cv2.BORDER_WRAP)
    column = np.mod(angle * (columns / (2 * np.pi)), columns) + 2
    row = np.clip(t, 0, 1) * (rows - 1)
    grid = (column.astype(np.float32), row.astype(np.float32))
    return np.asarray(cv2.remap(padded, *grid, cv2.INTER_LINEAR), np.float32)


def _reflections(image: Float32Array, rng: np.random.Generator, pupil: Circle, lids: Lids) -> None:
    """The lamps' glints in or near the pupil, and small ones on the wet edge of the lower lid."""
    layer = np.zeros(image.shape, np.uint8)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.85) * pupil.r
    x, y = pupil.x + distance * np.cos(angle), pupil.y + distance * np.sin(angle)
    for _ in range(int(rng.integers(1, 3))):
        axes = (int(rng.integers(16, 36)), int(rng.integers(10, 24)))
        centre = (round(8 * x), round(8 * y))
        cv2.ellipse(layer, centre, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, shift=3)
        x, y = x + rng.uniform(-7, 7), y + rng.uniform(3, 8)
    for column in rng.integers(0, image.shape[1], int(rng.integers(0, 7))):
        row = round(float(lids.lower[column] + rng.uniform(-1, 2)))
        if abs(lids.u[column]) < 1 and 0 <= row < image.shape[0]:
            cv2.circle(layer, (int(column), row), 1, 220, -1, cv2.LINE_AA)
    np.maximum(image, layer, out=image)


def _sensor(image: Float32Array, rng: np.random.Generator) -> UInt8Array:
    """Uneven light, defocus, noise, quantisation."""
    height, width = image.shape
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.16)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.cos(angle) * slope
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.sin(angle) * slope
    image *= rng.uniform(0.92, 1.06) * (1 + x + y)
    blur = 0.45 + float(rng.gamma(1.5, 0.4))
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    image += normal(rng, image.shape, rng.uniform(1.5, 3.5))
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
