"""What mindtct found in captures of a store, kept so that no later stage has to look again.

Finding takes about 20 ms a finger, and training, evaluation, gate and every day's monitoring ask
for the same ones. This is a cache under the work folder, one small file for each capture: it may be
removed at any time, and another program of finding has another folder.
"""

import hashlib
import io
import zlib
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.data.memory_map import Origin
from biometric_core.data.pixels import Pixels
from biometric_core.imaging.fingerprint import minutiae
from biometric_core.imaging.fingerprint.minutiae import MinutiaeTemplates
from biometric_core.schemas import Float64Array, UInt8Array
from biometric_core.storage.files import atomic_write
from biometric_core.storage.store import Store


def encode(captures: CaptureSet) -> MinutiaeTemplates:
    """As `minutiae.encode`; in captures of a store it looks once.

    Args:
        captures: N prepared fingerprints.

    Raises:
        ModelError: nbis can't be loaded.
    """
    images, masks = captures.images, captures.masks
    if not isinstance(images, Pixels):
        return minutiae.encode(images, masks)
    folder = _folder(images.origin)
    rows = zip(captures.capture_id.tolist(), images, masks, strict=True)
    return MinutiaeTemplates(
        [minutiae.described(_found(folder / _name(name, i), i), i, m) for name, i, m in rows]
    )


def _name(capture_id: str, image: UInt8Array) -> str:
    """Another image of a capture, read otherwise by another release, has another file."""
    return f"{capture_id}-{zlib.crc32(image.tobytes()):08x}.npy"


def _folder(origin: Origin) -> Path:
    store = Store(origin.root, origin.work)
    return store.path("cache", f"minutiae-{origin.prepared_by}-{_program()}", "any").parent


@cache
def _program() -> str:
    """Names what finds: our code around mindtct, and its version."""
    code = Path(minutiae.__file__).read_bytes()
    return hashlib.sha256(code + version("nbis-py").encode()).hexdigest()[:12]


def _found(path: Path, image: UInt8Array) -> Float64Array:
    try:
        found = np.load(path, allow_pickle=False)
        if found.dtype == np.float64 and found.shape[1:] == (minutiae.COLUMNS,):
            return np.asarray(found)
    except (OSError, ValueError, EOFError):  # not there, or no longer whole: it is found again
        pass
    made = minutiae.extract(image)
    data = io.BytesIO()
    np.save(data, made)
    with suppress(OSError):  # a full disk costs time here, nothing else
        atomic_write(path, data.getvalue())
    return made
