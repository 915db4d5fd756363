"""Read, decode, gray, resize: what worker processes load, so nothing heavy is imported here."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from biometric_core.config import Ingest
from biometric_core.imaging.decoding import decode
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.schemas import UInt8Array
from biometric_core.storage.files import atomic_write

SIDE = 128
_LIMITS = Ingest()


class Chunk(NamedTuple):
    """Paths of captures, and the folder where their pixels go."""

    paths: Sequence[str]
    out: str


def decode_batch(paths: Sequence[str]) -> UInt8Array:
    """uint8 (N, SIDE, SIDE)."""
    batch = np.empty((len(paths), SIDE, SIDE), np.uint8)
    with one_thread():
        for row, path in zip(batch, paths, strict=True):
            with Path(path).open("rb", buffering=0) as file:
                gray = decode(file.read(), _LIMITS)
            if min(gray.shape) > 1.5 * SIDE:  # or pixels would be passed over
                half = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                gray = np.asarray(half, np.uint8)
            cv2.resize(gray, (SIDE, SIDE), dst=row)
    return batch


def decode_chunk(chunk: Chunk) -> str:
    """As our stages work: the worker writes the pixels, and returns where."""
    name = hashlib.sha256("".join(chunk.paths).encode()).hexdigest()
    path = Path(chunk.out, name)
    atomic_write(path, decode_batch(chunk.paths).tobytes())
    return str(path)


def decode_one(path: str) -> UInt8Array:
    """One image a task: the pixels come back to the driver."""
    return decode_batch([path])
