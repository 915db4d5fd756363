"""The reader of record: what any viewer shows, by Pillow and a few lines of its own.

It shares no code with ours. Pillow alone neither scales 16 bits, nor inverts them where white is
zero, nor knows of significant bits.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import wsq  # noqa: F401  # registers itself with Pillow
from PIL import Image, ImageOps

from biometric_core.schemas import Float64Array

_PHOTOMETRIC, _MAX_SAMPLE, _WHITE_IS_ZERO = 262, 281, 0


def gray(data: bytes) -> Float64Array:
    """Gray levels 0 to 255, float64 (H, W), upright and on white paper."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        fields = getattr(image, "tag_v2", {})
        shown = ImageOps.exif_transpose(image)
        if shown.mode.startswith("I;16"):
            return _deep(np.asarray(shown, np.float64), data, fields, image.info)
        if shown.mode == "La":
            shown = shown.convert("LA")
        if shown.has_transparency_data:
            coloured = shown.convert("RGBA")
            paper = Image.new("RGBA", coloured.size, "white")
            paper.alpha_composite(coloured)
            shown = paper
        return np.asarray(shown.convert("RGB").convert("L"), np.float64)


def _deep(
    samples: Float64Array, data: bytes, fields: Mapping[int, Any], info: Mapping[Any, Any]
) -> Float64Array:
    stated = max(fields.get(_MAX_SAMPLE, (0,))).bit_length()
    if (place := data.find(b"sBIT")) > 0:
        (stated,) = struct.unpack_from("B", data, place + 4)
    bits = stated if stated and samples.max() < 2**stated else 16
    scaled = samples / (2**bits - 1) * 255
    if fields.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        scaled = 255 - scaled
    if (clear := info.get("transparency")) is not None:
        scaled[samples == clear] = 255
    return np.asarray(scaled)
