"""How well a network tells people apart whom it never saw: what early stopping follows."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.matching.error_rates import eer
from biometric_core.recogniser.network import BiometricNet
from biometric_core.schemas import Float32Array, Modality
from biometric_core.training.batches import pixels

MAX_CAPTURES = 2000  # two million comparisons: enough for a curve, cheap in every epoch
BATCH = 256


def embed_captures(net: BiometricNet, captures: CaptureSet, device: torch.device) -> Float32Array:
    """Embed a capture set, float32 (N, D); the network is put in evaluation mode."""
    net.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(captures), BATCH):
            index = np.arange(start, min(start + BATCH, len(captures)))
            images, masks = pixels(captures, index, device)
            parts.append(net.embed(captures.modality, images, masks).float().cpu().numpy())
    return np.concatenate(parts)


def open_set(
    net: BiometricNet, sets: Mapping[Modality, CaptureSet], device: torch.device
) -> dict[str, float]:
    """Figures over all pairs of validation captures, per modality that has mated pairs.

    Returns:
        `eer_<modality>` in [0, 1]; `separation_<modality>`, the difference of the mean mated and
        non-mated cosine over their pooled standard deviation (d', Daugman 2000); and `separation`,
        the mean over modalities. Empty where no modality has both kinds of pairs.
    """
    figures: dict[str, float] = {}
    for modality in net.spec.modalities:
        captures = sets.get(modality)
        if captures is None or len(captures) < 2:
            continue
        if len(captures) > MAX_CAPTURES:
            captures = captures.select(_whole_identities(captures.identity))
        scores, mated = pairs(embed_captures(net, captures, device), captures.identity)
        rate = eer(scores, mated)
        if rate is not None:
            figures[f"eer_{modality}"] = rate
            figures[f"separation_{modality}"] = separation(scores, mated)
    separations = [value for name, value in figures.items() if name.startswith("separation_")]
    return {**figures, "separation": float(np.mean(separations))} if separations else {}


def pairs(
    embeddings: Float32Array, identity: npt.NDArray[np.str_]
) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Cosines float32 (P,) of all unordered pairs of captures, and whether mated, bool (P,)."""
    i, j = np.triu_indices(len(embeddings), k=1)
    _, number = np.unique(identity, return_inverse=True)
    return (embeddings @ embeddings.T)[i, j], number[i] == number[j]


def separation(scores: Float32Array, mated: npt.NDArray[np.bool_]) -> float:
    """The d' of mated and non-mated scores; both kinds must be there."""
    genuine, impostor = scores[mated].astype(np.float64), scores[~mated].astype(np.float64)
    spread = np.sqrt((genuine.var() + impostor.var()) / 2)
    return float((genuine.mean() - impostor.mean()) / max(spread, 1e-6))


def _whole_identities(identity: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """Rows of as many identities as fit `MAX_CAPTURES`; spread over the sorted names."""
    names, counts = np.unique(identity, return_counts=True)
    step = int(np.ceil(counts.sum() / MAX_CAPTURES))
    return np.isin(identity, names[::step])
