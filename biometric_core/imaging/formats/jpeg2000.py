"""JPEG 2000, as JP2 file or bare code stream: read by Pillow once its header is within bounds."""

import io
import struct

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats.decoders import samples_of
from biometric_core.imaging.formats.foreign import unsupported
from biometric_core.imaging.formats.gray import Samples
from biometric_core.imaging.formats.header import believed_dpi

_FILE = b"\0\0\0\x0cjP  \r\n\x87\n"
_STREAM = b"\xff\x4f\xff\x51"
_MOST_BOXES = 1_000
_MOST_TILES = 4_096
_MOST_LAYERS = 256
_MOST_PARTS = 20_000
_DEEPEST = 16
_SIZE, _CODING, _PART, _END = 0xFF51, 0xFF52, 0xFF90, b"\xff\xd9"
_SIZ = struct.Struct(">HH8IH")


def is_one(data: bytes) -> bool:
    """Whether the bytes begin like JPEG 2000."""
    return data.startswith((_FILE, _STREAM))


def size(data: bytes) -> tuple[int, int, int]:
    """Width, height and bits of a sample.

    Raises:
        CaptureRefused: `not_an_image`, `unsupported_format`, `too_complex` or `truncated`.
    """
    try:
        start = 0 if data.startswith(_STREAM) else _stream(data)
        found, tiles = _size(data, start)
        _check_parts(data, _first_part(data, start), tiles)
        return found
    except (struct.error, OverflowError):  # the second of a place beyond any file
        raise CaptureRefused(
            "truncated", f"JPEG 2000 of {len(data)} bytes ends before its last pixel"
        ) from None


def _stream(data: bytes) -> int:
    """Where the code stream of a JP2 file begins."""
    place = 0
    for _ in range(_MOST_BOXES):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        if kind == b"jp2c":
            if not data.startswith(_STREAM, place + head):
                break
            return place + head
        if length < head:
            break
        place += length
    raise CaptureRefused("not_an_image", "JP2 file without a code stream")


def _size(data: bytes, start: int) -> tuple[tuple[int, int, int], int]:
    """Width, height, bits; and how many tiles."""
    _, _, right, bottom, left, top, tile_x, tile_y, first_x, first_y, count = _SIZ.unpack_from(
        data, start + 4
    )
    parts = struct.unpack_from(f">{3 * min(count, 5)}B", data, start + 4 + _SIZ.size)
    if not 1 <= count <= 4 or any(step != 1 for step in (*parts[1::3], *parts[2::3])):
        raise unsupported("JPEG 2000 with subsampled or more than four components")
    bits = max((part & 0x7F) + 1 for part in parts[::3])
    if bits > _DEEPEST:
        raise unsupported(f"JPEG 2000 of {bits} bits")
    if not (left < right and top < bottom and tile_x and tile_y):
        raise CaptureRefused("not_an_image", "JPEG 2000 without an area")
    across = -(-(right - first_x) // tile_x)
    down = -(-(bottom - first_y) // tile_y)
    if not 0 < across * down <= _MOST_TILES:
        raise CaptureRefused("too_complex", f"JPEG 2000 of more than {_MOST_TILES} tiles")
    return (right - left, bottom - top, bits), across * down


def _first_part(data: bytes, start: int) -> int:
    """Where the main header ends; it says how the samples are coded."""
    place = start + 2
    for _ in range(_MOST_BOXES):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == _PART:
            return place
        if marker == _CODING:
            (layers,) = struct.unpack_from(">H", data, place + 6)
            if layers > _MOST_LAYERS:
                raise CaptureRefused("too_complex", f"JPEG 2000 of {layers} layers")
        if marker < 0xFF00 or length < 2:
            break
        place += 2 + length
    raise CaptureRefused("not_an_image", "JPEG 2000 with a damaged header")


def _check_parts(data: bytes, place: int, tiles: int) -> None:
    """Each part of each tile must lie in the file, and the end marker behind the last."""
    seen: set[int] = set()
    for _ in range(_MOST_PARTS):
        if data.startswith(_END, place):
            if len(seen) < tiles:
                break
            return
        marker, _, tile, length = struct.unpack_from(">HHHI", data, place)
        if marker != _PART or (length and length < 14):
            break
        seen.add(tile)
        if not length:  # it reaches to the end
            place = data.rfind(_END)
            if place < 0:
                break
            continue
        place += length
    raise CaptureRefused("truncated", f"JPEG 2000 of {len(data)} bytes: cut short or damaged")


def decode(data: bytes, expected: tuple[int, int]) -> tuple[Samples, float | None]:
    """The samples (`decoders.samples_of`), and the stated resolution; after `size` only.

    Args:
        data: the file's bytes.
        expected: width and height, as `size` found them.

    Raises:
        CaptureRefused: `not_an_image` or `truncated`.
    """
    import PIL.Jpeg2KImagePlugin  # noqa: F401  # registers itself
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG2000",))
        if image.size != expected:
            raise CaptureRefused("not_an_image", "JP2 file that states two sizes")
        image.load()
        return samples_of(image), believed_dpi(*image.info.get("dpi", (0, 0)))
    except CaptureRefused:
        raise
    except Exception as error:  # a parser of damaged bytes raises nearly anything
        raise CaptureRefused("truncated", f"JPEG 2000 damaged ({type(error).__name__})") from None
