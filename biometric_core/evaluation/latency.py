"""How long one capture takes, from the bytes of its file to its templates."""

import time
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.imaging.preparation import prepare
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store

_LATENCY_CAPTURES = 24


def latency(
    recogniser: Recogniser, store: Store, sets: Mapping[Modality, CaptureSet]
) -> dict[str, float] | None:
    """Milliseconds from an image file's bytes to its embedding, one capture at a time.

    Args:
        recogniser: what is timed.
        store: where the files are.
        sets: captures; a few of each modality that the recogniser knows are taken.

    Returns:
        `p50_ms`, `p95_ms` and `captures`; None where there is nothing to time.
    """
    chosen = [
        (modality, str(capture_id))
        for modality, captures in sets.items()
        if modality in recogniser.modalities
        for capture_id in captures.capture_id[:_LATENCY_CAPTURES]
    ]
    ids = [capture_id for _, capture_id in chosen]
    rows = store.read("captures", ["capture_id", "uri"], pc.field("capture_id").isin(ids))
    uris = dict(zip(rows["capture_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    seconds = []
    for modality, capture_id in chosen:
        uri = uris[capture_id] or ""
        if store.files.exists(uri):  # images may be deleted; what was prepared from them is kept
            data = store.files.read(uri)
            start = time.perf_counter()
            _embed_one(recogniser, data, modality)
            seconds.append(time.perf_counter() - start)
    if len(seconds) < 2:
        return None
    p50, p95 = np.quantile(seconds[1:], [0.5, 0.95]) * 1000  # the first one warms up
    return {"p50_ms": float(p50), "p95_ms": float(p95), "captures": len(seconds) - 1}


def _embed_one(recogniser: Recogniser, data: bytes, modality: Modality) -> None:
    try:  # by this code, also where the model needs what only its bundle's makes: the time counts
        sample = prepare(data, modality, recogniser.settings, recogniser.limits)
    except (CaptureRefused, FailureToAcquire):
        return
    recogniser.embed(modality, sample.image[np.newaxis], sample.mask[np.newaxis])
