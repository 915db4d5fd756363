"""A data set of drawn eyes and fingers in the flat layout, and a small configuration for it."""

import cv2
import numpy as np

from biometric_core.config import Config
from tests.support.drawn_captures import draw_eye, draw_finger
from tests.support.tiny_store import changed


def drawn_source(folder, subjects=6, impressions=3, fingers=True):
    """Write images; fingers have one impression each, as in the Kaggle data set."""
    for kind in ("iris", "fingerprint"):
        (folder / kind).mkdir(parents=True)
    for subject in range(1, subjects + 1):
        for impression in range(1, impressions + 1):
            rng = np.random.default_rng([subject, impression])
            x, y = 150 + rng.uniform(-8, 8, 2)
            eye = draw_eye(
                eye=subject,
                pupil=(x, y - 30, 21.0),
                limbus=(x + 1, y - 31, 54.0),
                turn=rng.uniform(-0.05, 0.05),
                seed=impression,
            )
            cv2.imwrite(str(folder / "iris" / f"{subject:03d}_L_{impression:02d}.png"), eye)
        if fingers:
            name = folder / "fingerprint" / f"{subject:03d}_L_thumb_01.png"
            cv2.imwrite(str(name), draw_finger(period=8 + 0.25 * subject))
    return folder


def drawn_config(config: Config) -> Config:
    """Tiny images and one epoch, so that training takes a second."""
    config = changed(config, "preprocess", iris_shape=(16, 32), fingerprint_shape=(128, 128))
    quick = {"epochs": 1, "min_steps": 1, "batch_size": 64, "width": 4, "embedding_dim": 8}
    config = changed(config, "training", **quick, precision="fp32")
    return changed(config, "splits", validation=0.2, test=0.4)
