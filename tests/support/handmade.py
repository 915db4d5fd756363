"""TIFF and PNG files with any field or chunk, written by hand: most writers refuse the odd ones."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

BLACK_IS_ZERO, WHITE_IS_ZERO, RGB = 1, 0, 2
RAW, DEFLATE = 1, 8
_SHORT, _LONG, _RATIONAL = 3, 4, 5


def tiff(
    samples: np.ndarray,
    *,
    bits: int = 8,
    photometric: int = BLACK_IS_ZERO,
    order: str = "<",
    compression: int = RAW,
    fields: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    pages: Sequence[Mapping[int, tuple[int, Sequence[int]]]] = (),
) -> bytes:
    """One strip of samples, (H, W) or (H, W, C) of `bits`.

    `fields` are kind and values by tag, beside the usual ones; `pages` has those of each further
    page, all with the same pixels.
    """
    height, width = samples.shape[:2]
    count = 1 if samples.ndim == 2 else samples.shape[2]
    strip = packed(samples, bits, order)
    strip = zlib.compress(strip) if compression == DEFLATE else strip
    usual = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [bits] * count),
        259: (_SHORT, [compression]),
        262: (_SHORT, [photometric]),
        273: (_LONG, [8]),
        277: (_SHORT, [count]),
        278: (_LONG, [height]),
        279: (_LONG, [len(strip)]),
    }
    out = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(strip)) + strip
    everything = [usual | dict(fields or {}), *(usual | dict(page) for page in pages)]
    for number, page in enumerate(everything):
        out += _directory(page, len(out), order, last=number == len(everything) - 1)
    return out


def packed(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Rows of samples, each row filled up to whole bytes."""
    if bits == 16:
        return samples.astype(f"{order}u2").tobytes()
    rows = samples.reshape(len(samples), -1).astype(np.uint16)
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    single = ((rows[..., None] >> places) & 1).astype(np.uint8).reshape(len(rows), -1)
    return np.packbits(single, axis=1).tobytes()


def _directory(
    page: Mapping[int, tuple[int, Sequence[int]]], place: int, order: str, *, last: bool
) -> bytes:
    after = place + 2 + 12 * len(page) + 4
    entries, values = b"", b""
    for tag in sorted(page):
        kind, numbers = page[tag]
        letter = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}[kind]
        data = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        count = len(numbers) // 2 if kind == _RATIONAL else len(numbers)
        if len(data) > 4:
            held = struct.pack(order + "I", after + len(values))
            values += data
        else:
            held = data.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, count) + held
    following = 0 if last else after + len(values)
    head = struct.pack(order + "H", len(page))
    return head + entries + struct.pack(order + "I", following) + values


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    samples: np.ndarray, *, bits: int = 8, colour: int = 0, before: bytes = b"", behind: bytes = b""
) -> bytes:
    """A PNG of samples, (H, W) or (H, W, C); `before` and `behind` are chunks around the pixels."""
    height, width = samples.shape[:2]
    rows = np.frombuffer(packed(samples, bits, ">"), np.uint8).reshape(height, -1)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n", head, before, chunk(b"IDAT", body), behind, chunk(b"IEND", b"")]
    return b"".join(parts)


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block that states an orientation and nothing else."""
    magic = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x112, _SHORT, 1, orientation, 0)
    return struct.pack(order + "2sHIH", magic, 42, 8, 1) + entry + bytes(4)


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as a file must hold them, so that this orientation shows `image`."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 7, 8):
        image = image[:, ::-1]
    if orientation in (3, 4, 6, 7):
        image = image[::-1]
    return np.ascontiguousarray(image)
