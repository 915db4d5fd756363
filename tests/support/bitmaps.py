"""BMP files of every usual and unusual kind, written by hand."""

import struct

import numpy as np

BGR = (0xFF0000, 0xFF00, 0xFF)
ALPHA = 0xFF000000


def bmp(
    rows: np.ndarray,
    *,
    width: int,
    bits: int,
    header: int = 40,
    packing: int = 0,
    masks: tuple[int, ...] = (*BGR, ALPHA),
    top_down: bool = False,
    palette: np.ndarray | None = None,
    gap: int = 0,
) -> bytes:
    """A file of `rows` as they shall lie in it: uint8 (H, row bytes), padded to four here.

    `palette` is uint8 (N, 4); `gap` bytes lie between the headers and the rows.
    """
    stride = (width * bits + 31) // 32 * 4
    body = np.zeros((len(rows), stride), np.uint8)
    body[:, : rows.shape[1]] = rows
    colours = b"" if palette is None else palette.tobytes()
    tail = (
        struct.pack("<4I", *masks, *[0] * (4 - len(masks)))[: 12 if header < 56 else 16]
        if header > 40
        else b""
    )
    after = struct.pack("<3I", *masks[:3]) if header == 40 and packing == 3 else b""
    start = 14 + header + len(after) + len(colours) + gap
    height = -len(rows) if top_down else len(rows)
    size = body.size
    info = struct.pack(
        "<IiiHHIIiiII", header, width, height, 1, bits, packing, size, 1, 1, len(colours) // 4, 0
    )
    file = struct.pack("<2sIHHI", b"BM", start + size, 0, 0, start)
    return b"".join(
        [file, info, tail.ljust(header - 40, b"\0"), after, colours, bytes(gap), body.tobytes()]
    )
