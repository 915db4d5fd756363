"""Probes compared with the identity they claim, and with everybody else who is enrolled."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.schemas import Float32Array, IntArray, Modality, StrArray

if TYPE_CHECKING:
    from biometric_core.recogniser import Recogniser

# Scores of this many probes against a whole gallery at a time: bounds the memory, not the result.
_PROBES_AT_A_TIME = 1024


@dataclass(frozen=True)
class Claims:
    """What came of comparing N probes; NaN where there is nothing to compare with.

    Attributes:
        embedding: float32, (N, D); of the probes.
        residual: float32, (N, D); probe minus the template of the claimed identity.
        genuine: float32, (N,); mean log-likelihood ratio with the enrolled captures of the claimed
            identity, by all encoders: what decisions are taken on.
        impostor: float32, (N,); the highest ratio with the template of any other identity, by the
            embeddings alone: the other encoders would have to see the whole gallery every day.
    """

    embedding: Float32Array
    residual: Float32Array
    genuine: Float32Array
    impostor: Float32Array


def compare_claims(
    recogniser: "Recogniser",
    captures: CaptureSet,
    embeddings: Float32Array,
    probes: IntArray,
    gallery: IntArray,
) -> Claims:
    """Compare probes with what is enrolled.

    Args:
        recogniser: whose scores.
        captures: prepared captures of one modality, N of them.
        embeddings: float32, (N, D), by the recogniser; only rows of probes and gallery are read.
        probes: int64, (P,), rows of the captures.
        gallery: int64, (G,), rows of the enrolled captures; an identity's template is the
            normalised mean of their embeddings.
    """
    identity = captures.identity
    names, means = _templates(identity[gallery], embeddings[gallery])
    claimed, vectors = identity[probes], embeddings[probes]
    own = np.minimum(np.searchsorted(names, claimed), max(len(names) - 1, 0))
    enrolled = names[own] == claimed if len(names) else np.zeros(len(probes), dtype=bool)
    residual = np.full_like(vectors, np.nan)
    residual[enrolled] = vectors[enrolled] - means[own[enrolled]]
    impostor = _highest_others(recogniser, captures.modality, vectors, means, own, enrolled)
    genuine = np.full(len(probes), np.nan, dtype=np.float32)
    known = probes[enrolled]
    references = gallery[np.isin(identity[gallery], identity[known])]
    genuine[enrolled] = _genuine(recogniser, captures, embeddings, known, references)
    return Claims(vectors, residual, genuine, impostor)


def _templates(identity: StrArray, embeddings: Float32Array) -> tuple[StrArray, Float32Array]:
    names, where = np.unique(identity, return_inverse=True)
    total = np.zeros((len(names), embeddings.shape[1]), dtype=np.float64)
    np.add.at(total, where, embeddings)
    length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.finfo(np.float32).eps)
    return names, (total / length).astype(np.float32)


def _highest_others(
    recogniser: "Recogniser",
    modality: Modality,
    vectors: Float32Array,
    means: Float32Array,
    own: IntArray,
    enrolled: npt.NDArray[np.bool_],
) -> Float32Array:
    highest = np.full(len(vectors), np.nan, dtype=np.float32)
    for start in range(0, len(vectors) if len(means) else 0, _PROBES_AT_A_TIME):
        rows = np.arange(start, min(start + _PROBES_AT_A_TIME, len(vectors)))
        scores = recogniser.compare(modality, vectors[rows], means)
        mated = rows[enrolled[rows]]
        scores[mated - start, own[mated]] = -np.inf
        best = scores.max(axis=1)
        highest[rows] = np.where(np.isfinite(best), best, np.nan)
    return highest


def _genuine(
    recogniser: "Recogniser",
    captures: CaptureSet,
    embeddings: Float32Array,
    probes: IntArray,
    references: IntArray,
) -> Float32Array:
    """Mean ratio of each probe with the enrolled captures of its identity, float32 (P,)."""
    used = np.concatenate([probes, references])
    chosen = captures.select(used)
    templates = recogniser.templates(chosen, embeddings[used])
    encoders = recogniser.weighed(captures.modality, templates)
    identity = chosen.identity
    scores = np.zeros(len(probes), dtype=np.float32)
    for name in np.unique(identity[: len(probes)]):
        mine = np.flatnonzero(identity == name)
        left, right = mine[mine < len(probes)], mine[mine >= len(probes)]
        for encoder in encoders:
            similarity = encoder.templates.take(left).similarities(encoder.templates.take(right))
            scores[left] += (encoder.weight * similarity + encoder.bias).mean(axis=1)
    return scores
