"""Simple drawn eyes and fingers with known truth, and the real ones where they lie beside."""

import zipfile
from pathlib import Path

import cv2
import numpy as np

REAL = Path(__file__).parents[3] / "shared" / "data"
REAL_SUBJECTS = REAL / "multimodal-iris-fingerprint-30.zip"
REAL_FINGERS = REAL / "fvc2002-db1b.zip"


def draw_eye(
    eye=0,
    pupil=(150.3, 122.6, 21.0),
    limbus=(152.0, 121.0, 54.0),
    turn=0.0,
    lids=True,
    noise=1.5,
    seed=0,
    shape=(240, 320),
):
    """A (240, 320) uint8 eye: texture by `eye`, circles as given, glints in the pupil."""
    rng = np.random.default_rng([eye, 77])
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    angle = np.arctan2(y - pupil[1], x - pupil[0]) - turn
    inner = np.hypot(x - pupil[0], y - pupil[1])
    outer = np.hypot(x - limbus[0], y - limbus[1])
    depth = (inner - pupil[2]) / np.maximum(inner - pupil[2] + limbus[2] - outer, 1e-6)
    texture = sum(
        rng.normal() * np.cos(k * angle + rng.uniform(0, 6.3) + rng.uniform(2, 9) * depth)
        for k in rng.integers(4, 40, 60)
    )
    image = np.where(outer < limbus[2], 95 + 1.6 * texture, 175.0)
    image = np.where(inner < pupil[2], 18.0, image)
    if lids:
        u = (x - limbus[0]) / limbus[2]
        v = (y - limbus[1]) / limbus[2]
        image = np.where((v < -0.75 + 0.3 * u * u) | (v > 0.95 - 0.25 * u * u), 205.0, image)
    glint = np.hypot(x - pupil[0] - 5, y - pupil[1] + 4) < 4
    image = np.where(glint, 255.0, image)
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    image += np.random.default_rng([eye, seed]).normal(0, noise, shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_finger(period=9.0, shape=(374, 388), centre=None, turn=0.0, noise=4.0):
    """Dark ridges that loop around a core at `centre`, on white, in an ellipse around it.

    `turn` in degrees, clockwise, turns the whole finger.
    """
    rng = np.random.default_rng(0)
    height, width = shape
    cx, cy = centre or (width / 2, height / 2)
    y, x = np.mgrid[:height, :width].astype(float)
    angle = np.deg2rad(turn)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    # Arcs above the core, straight down beside it: a plain loop, open below.
    distance = np.where(v < 0, np.hypot(u, v), np.abs(u))
    ridges = 125 - 100 * np.cos(2 * np.pi * distance / period)
    finger_area = (u / (0.42 * width)) ** 2 + (v / (0.45 * height)) ** 2 < 1
    image = np.where(finger_area, ridges, 245.0) + rng.normal(0, noise, shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def noise_image(sigma, seed=0, shape=(240, 320)):
    """Gaussian noise smoothed by `sigma`, over the whole range of grey levels."""
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    if sigma:
        values = cv2.GaussianBlur(values, (0, 0), sigma)
    return cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def real_images(archive, suffix):
    """(folder and name, gray) of the members that end in `suffix`, in order."""
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            if name.endswith(suffix):
                data = np.frombuffer(opened.read(name), np.uint8)
                yield name, cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
