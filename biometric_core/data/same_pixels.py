"""One image is one image, in whatever format its file is."""

import hashlib

import numpy as np

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.schemas import IntArray, UInt8Array


def pixels_digest(*pixels: UInt8Array) -> str:
    """Of one image, or of what belongs to it, each uint8 (H, W); 32 hex digits."""
    found = hashlib.sha256()
    for array in pixels:
        found.update(repr(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:32]


def first_of_each_image(captures: CaptureSet) -> IntArray:
    """Rows of the captures whose prepared pixels no earlier row has, int64 (M,), in their order.

    The same image twice would meet itself in a comparison: a mated one would say nothing, and a
    non-mated one would be called a false match.
    """
    first: dict[str, int] = {}
    for row in range(len(captures)):
        digest = pixels_digest(captures.images[row], captures.masks[row])
        first.setdefault(digest, row)
    return np.array(list(first.values()), dtype=np.int64)
