"""Comparisons of invented people with known traits, made in milliseconds."""

import numpy as np

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import Modality
from tests.support.toys import toy_set


def world(subjects=12, positions=2, impressions=3, noise=0.9, seed=0, modality=Modality.IRIS):
    """Captures with sex and quality (the lower, the noisier the vector), and all comparisons."""
    captures = toy_set(modality, subjects, positions=positions, impressions=impressions)
    rng = np.random.default_rng(seed)
    order = {name: number for number, name in enumerate(np.unique(captures.subject_id))}
    sex = np.array(["MF"[order[name] % 2] for name in captures.subject_id])
    quality = rng.uniform(0, 1, len(captures)).astype(np.float32)
    ids = np.array([f"c{number:04d}" for number in range(len(captures))])
    captures = with_columns(captures, capture_id=ids, sex=sex, quality=quality)
    return captures, compared(captures, noise, rng)


def compared(captures: CaptureSet, noise, rng, dim=16) -> Comparisons:
    codes = np.unique(captures.identity, return_inverse=True)[1]
    own = rng.normal(size=(codes.max() + 1, dim))[codes]
    spread = noise * (1.6 - captures.quality)[:, None]
    vectors = own + spread * rng.normal(size=own.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(captures), 1)
    scores = (vectors[first] * vectors[second]).sum(axis=1)
    mated = codes[first] == codes[second]
    return Comparisons(scores, mated, first, second, captures.capture_id, captures.subject_id)


def with_columns(captures: CaptureSet, **columns) -> CaptureSet:
    return CaptureSet(**{**vars(captures), **columns})
