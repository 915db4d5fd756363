"""Small separable identities: each has a texture of its own, each capture disturbs it."""

import hashlib

import numpy as np

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, from_columns
from biometric_core.schemas import POSITIONS, Modality

SHAPES = {Modality.IRIS: (32, 128), Modality.FINGERPRINT: (64, 64)}


def toy_set(modality, subjects, *, positions=1, impressions=3, seed=0, noise=0.6, first=0):
    """Captures of `subjects` people, numbered from `first`."""
    columns = {name: [] for name in ("subject_id", "position", "impression")}
    images = []
    height, width = SHAPES[modality]
    for subject in range(first, first + subjects):
        for position in POSITIONS[modality][:positions]:
            own = np.random.default_rng([subject, len(position), modality == Modality.IRIS])
            coarse = own.normal(size=(height // 4, width // 8))
            texture = np.kron(coarse, np.ones((4, 8)))
            for impression in range(impressions):
                rng = np.random.default_rng([seed, subject, impression, len(position)])
                noisy = texture + noise * rng.normal(size=texture.shape)
                images.append(np.clip(128 + 40 * noisy, 0, 255).astype(np.uint8))
                columns["subject_id"].append(f"s{subject:03d}")
                columns["position"].append(position)
                columns["impression"].append(impression)
    count = len(images)
    columns["capture_id"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    columns |= {"sensor": ["toy"] * count, "split": ["train"] * count}
    columns["captured_at"] = ["2026-01-01"] * count
    pixels = np.stack(images)
    return from_columns(
        modality, columns, pixels, np.full_like(pixels, 255), np.ones(count, np.float32)
    )


def toy_sets(subjects, **kwargs) -> dict[Modality, CaptureSet]:
    return {modality: toy_set(modality, subjects, **kwargs) for modality in Modality}


def toy_config(**training) -> Config:
    quick = {"epochs": 4, "batch_size": 16, "min_steps": 2, "width": 4, "embedding_dim": 16}
    return Config(training={**quick, "precision": "fp32", "warmup_epochs": 1, **training})
