"""Which files the releases before read otherwise than this one, told by their headers.

Until `READING` 2 these did not count: an orientation in JPEG and PNG, the resolution that the file
of a finger states, the depth of a sensor and white as zero in 16 bits, a gray that stands for no
colour, further pages or frames. The fourth byte of a BMP with three masks did.
"""

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats import bitmap, decoders, jpeg2000, stated, wsq
from biometric_core.imaging.formats.header import UPRIGHT
from biometric_core.schemas import Modality

# Raise it when pixels of files that were accepted become others, and say of which here.
READING = "2"
_DEEP = 16


def may_differ(data: bytes, modality: Modality, limits: Ingest) -> bool:
    """Whether a capture of this file may have other pixels than it had; few such files have none.

    Args:
        data: the file's bytes.
        modality: of the capture; only fingers have a resolution.
        limits: bounds on hostile input.
    """
    if jpeg2000.is_one(data) or wsq.is_one(data):
        return False  # they were refused
    finger = modality is Modality.FINGERPRINT
    try:
        usual = bitmap.parse(data)
        if usual is not None:
            return usual.reinterpreted or (finger and usual.dpi is not None)
        header = stated.header(data, limits.max_pixels)
        header = stated.with_metadata(header, decoders.opened(data, header), data)
    except CaptureRefused:
        return True
    return (
        header.orientation != UPRIGHT
        or header.depth == _DEEP
        or header.transparent is not None
        or header.by_pillow
        or (finger and header.dpi is not None)
    )
