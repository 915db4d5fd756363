"""Hundreds of files: format by depth, photometric, orientation, alpha, palette, order, packing."""

import io
import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from biometric_core.schemas import UInt8Array
from tests.support.bitmaps import ALPHA, BGR, bmp
from tests.support.handmade import (
    DEFLATE,
    RAW,
    RGB,
    WHITE_IS_ZERO,
    chunk,
    exif,
    png,
    tiff,
    turned,
)

ORIENTATIONS = (None, *range(1, 9))
_HEIGHT, _WIDTH = 72, 100
_SHORT, _RATIONAL = 3, 5
_GRAY, _COLOUR, _PALETTE, _GRAY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GRAY: 1, _COLOUR: 3, _GRAY_ALPHA: 2, _COLOUR_ALPHA: 4}

Samples = npt.NDArray[Any]
Fields = dict[int, tuple[int, Sequence[int]]]


@dataclass(frozen=True)
class Case:
    """A file.

    Attributes:
        name: what is special about it.
        data: its bytes.
        reason: it must be refused with; None where it must be read.
        dpi: that it states credibly.
        shown: what a viewer shows of it, gray levels (H, W), where Pillow can't open the file.
    """

    name: str
    data: bytes
    reason: str | None = None
    dpi: float | None = None
    shown: Samples | None = None


def cases() -> list[Case]:
    """All of them, named uniquely."""
    pngs, tiffs = (_pngs, _odd_pngs, _deep_pngs), (_tiffs, _deep_tiffs)
    makers = (_bitmaps, *pngs, _jpegs, *tiffs, _jpeg2000, _wsqs, _pages)
    return [case for maker in makers for case in maker()]


def samples(channels: int = 1, bits: int = 8, seed: int = 0) -> Samples:
    """A picture without symmetry that uses the whole range: (H, W) or (H, W, C)."""
    rng = np.random.default_rng((channels, bits, seed))
    noise = rng.normal(size=(_HEIGHT, _WIDTH, channels)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3).reshape(_HEIGHT, _WIDTH, channels)
    smooth[: _HEIGHT // 4, : _WIDTH // 4] = smooth.max()
    low, high = smooth.min((0, 1)), smooth.max((0, 1))
    found = np.round((smooth - low) / (high - low) * (2**bits - 1)).astype(np.uint16)
    return np.asarray(found[..., 0] if channels == 1 else found)


def _bitmaps() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    depths, headers, ways = (1, 4, 8, 24, 32), (40, 108, 124), (False, True)
    for bits, header, top_down in itertools.product(depths, headers, ways):
        rows = rng.integers(0, 256, (_HEIGHT, (_WIDTH * bits + 7) // 8), np.uint8)
        for grays in (True, False) if bits <= 8 else (None,):
            palette = None if grays is None else _palette(rng, 2**bits, grays)
            name = f"bmp {bits} bits, header {header}, top down {top_down}, grays {grays}"
            data = bmp(
                rows, width=_WIDTH, bits=bits, header=header, top_down=top_down, palette=palette
            )
            yield Case(name, data)
    for header, alpha, order in itertools.product((40, 52, 56, 124), (0, ALPHA), (BGR, BGR[::-1])):
        rows = rng.integers(0, 256, (_HEIGHT, _WIDTH * 4), np.uint8)
        data = bmp(rows, width=_WIDTH, bits=32, header=header, packing=3, masks=(*order, alpha))
        # Pillow takes one order for the other where no alpha is named, or refuses it.
        if order == BGR or (header > 52 and alpha):
            yield Case(f"bmp masks {header}, {alpha:x}, {order[0]:x}", data)
    for metres, dpi in ((19685, 500.0), (2835, None), (3780, None), (11811, 300.0)):
        patched = bytearray(bmp(rng.integers(0, 256, (_HEIGHT, 300), np.uint8), width=100, bits=24))
        struct.pack_into("<ii", patched, 38, metres, metres)
        yield Case(f"bmp {metres} pixels a metre", bytes(patched), dpi=dpi)
    whole = bmp(rng.integers(0, 256, (_HEIGHT, 100), np.uint8), width=100, bits=8)
    palette = np.zeros((256, 4), np.uint8)
    for start in (0, 54, 500, 1077):
        patched = bytearray(bmp(samples().astype(np.uint8), width=100, bits=8, palette=palette))
        struct.pack_into("<I", patched, 10, start)
        yield Case(f"bmp pixels at {start}", bytes(patched), "not_an_image")
    yield Case("bmp cut", whole[:-100], "truncated")


def _palette(rng: np.random.Generator, colours: int, grays: bool) -> UInt8Array:
    found = rng.integers(0, 256, (colours, 4), np.uint8)
    if grays:
        found[:, :3] = np.linspace(0, 255, colours).astype(np.uint8)[:, None]
    return found


def _pngs() -> Iterator[Case]:
    for bits, colour in itertools.product((8, 16), _CHANNELS):
        picture = samples(_CHANNELS[colour], bits)
        for orientation in ORIENTATIONS:
            stored = picture if orientation is None else turned(picture, orientation)
            block = b"" if orientation is None else chunk(b"eXIf", exif(orientation, ">"))
            for place in ("before", "behind") if orientation else ("before",):
                name = f"png {bits} bits, colour {colour}, orientation {orientation} {place}"
                yield Case(name, png(stored, bits=bits, colour=colour, **{place: block}))


def _odd_pngs() -> Iterator[Case]:
    for bits in (1, 2, 4):
        yield Case(f"png {bits} bits", png(samples(1, bits), bits=bits))
        yield Case(
            f"png {bits} bits, a gray is clear",
            png(samples(1, bits), bits=bits, before=chunk(b"tRNS", b"\0\0")),
        )
    yield Case("png a gray of 8 is clear", png(samples(), before=chunk(b"tRNS", b"\0\xff")))
    yield Case(
        "png a gray of 16 is clear",
        png(samples(1, 16), bits=16, before=chunk(b"tRNS", b"\xff\xff")),
    )
    yield Case(
        "png a colour is clear",
        png(samples(3), colour=_COLOUR, before=chunk(b"tRNS", b"\0\xff\0\xff\0\xff")),
    )
    yield from _png_palettes()
    for invalid in (0, 9, 255):
        data = png(samples(), before=chunk(b"eXIf", exif(invalid)))
        yield Case(f"png orientation {invalid}", data)
    for metres, unit, dpi in (
        (19685, 1, 500.0),
        (15748, 1, 400.0),
        (2835, 1, None),
        (500, 0, None),
    ):
        body = struct.pack(">IIB", metres, metres, unit)
        yield Case(f"png {metres} by {unit}", png(samples(), before=chunk(b"pHYs", body)), dpi=dpi)
    yield Case("png with a trailer", png(samples()) + bytes(20_000))
    yield Case("png cut", png(samples())[:-30], "truncated")


def _png_palettes() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for bits, clear in itertools.product((1, 2, 4, 8), (False, True)):
        parts = chunk(b"PLTE", rng.integers(0, 256, 3 * 2**bits, np.uint8).tobytes())
        if clear:
            parts += chunk(b"tRNS", rng.integers(0, 256, 2**bits, np.uint8).tobytes())
        data = png(samples(1, bits), bits=bits, colour=_PALETTE, before=parts)
        yield Case(f"png palette of {bits} bits, clear {clear}", data)


def _deep_pngs() -> Iterator[Case]:
    for bits in (8, 10, 12, 14):
        significant = chunk(b"sBIT", bytes([bits]))
        few = samples(1, bits)
        yield Case(f"png {bits} of 16 bits", png(few, bits=16, before=significant))
        yield Case(f"png {bits} of 16 bits, not stated", png(few, bits=16), "unclear_depth")
        left = few << (16 - bits)
        yield Case(f"png {bits} of 16 bits, left", png(left, bits=16, before=significant))
        yield Case(f"png {bits} of 16 bits, left, not stated", png(left, bits=16))
    dark = samples(1, 16) // 3
    yield Case("png dark", png(dark, bits=16))
    yield Case("png dark, of 8 bits", png(samples() // 8 * 257, bits=16))


def _jpegs() -> Iterator[Case]:
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"subsampling": 0},
        {"subsampling": 1},
        {"quality": 30},
    )
    for mode, options, orientation in itertools.product(("L", "RGB"), kinds, ORIENTATIONS):
        picture = samples(len(mode)).astype(np.uint8)
        stored = picture if orientation is None else turned(picture, orientation)
        block: dict[str, Any] = (
            {} if orientation is None else {"exif": b"Exif\0\0" + exif(orientation)}
        )
        name = f"jpeg {mode} {options} orientation {orientation}"
        yield Case(name, _pillow(stored, "JPEG", **options, **block))
    picture = samples(3).astype(np.uint8)
    for dpi in (500, 400, 300, 96, 72):
        credible = float(dpi) if dpi > 150 else None
        data = _pillow(picture, "JPEG", dpi=(dpi, dpi))
        yield Case(f"jpeg {dpi} dpi", data, dpi=credible)
    yield Case("jpeg with a trailer", _pillow(picture, "JPEG") + bytes(20_000))
    yield Case("jpeg with another behind", _pillow(picture, "JPEG") * 2)
    yield Case("jpeg of four inks", _pillow(picture, "JPEG", mode="CMYK", subsampling=0))
    yield Case("jpeg cut", _pillow(picture, "JPEG")[:-100], "truncated")
    yield Case(
        "jpeg of 1000 scans",
        many_scans(_pillow(picture, "JPEG", progressive=True), 1_000),
        "too_complex",
    )


def many_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG whose last scan comes so often."""
    last = data.rfind(b"\xff\xda")
    return data[:last] + (data[last:-2] * count) + data[-2:]


def _tiffs() -> Iterator[Case]:
    for bits, white, order, orientation in itertools.product(
        (1, 2, 4, 8), (1, WHITE_IS_ZERO), "<>", ORIENTATIONS
    ):
        packing = DEFLATE if order == "<" and bits != 2 else RAW
        yield _tiff(bits, white, order, orientation, packing)
    for bits, packing, extra in itertools.product((8, 16), (RAW, DEFLATE), (None, 0, 1, 2)):
        for colours in (1, 3):
            yield _tiff_of_channels(colours, bits, packing, extra)
    for name, channels in itertools.product(("tiff_lzw", "packbits", "jpeg"), (1, 3)):
        picture = samples(channels).astype(np.uint8)
        data = _pillow(picture, "TIFF", compression=name)
        yield Case(f"tiff {name}, {channels} channels", data)
    for unit, dpi, credible in ((2, 500, 500.0), (3, 200, 508.0), (2, 72, None), (1, 500, None)):
        where = {282: (_RATIONAL, [dpi, 1]), 283: (_RATIONAL, [dpi, 1]), 296: (_SHORT, [unit])}
        yield Case(f"tiff {dpi} by {unit}", tiff(samples(), fields=where), dpi=credible)
    yield Case("tiff with a trailer", tiff(samples()) + bytes(20_000))


def _tiff_of_channels(colours: int, bits: int, packing: int, extra: int | None) -> Case:
    fields: Fields = {} if extra is None else {338: (_SHORT, [extra])}
    picture = samples(colours + len(fields), bits)
    photometric = 1 if colours == 1 else RGB
    data = tiff(picture, bits=bits, photometric=photometric, compression=packing, fields=fields)
    refused = bits == 16 and extra is not None and (colours == 1 or extra == 1)
    name = f"tiff {colours} colours of {bits} bits, extra {extra}, packing {packing}"
    return Case(name, data, "unsupported_format" if refused else None)


def _tiff(bits: int, white: int, order: str, orientation: int | None, packing: int) -> Case:
    picture = samples(1, bits)
    stored = picture if orientation is None else turned(picture, orientation)
    stored = 2**bits - 1 - stored if white == WHITE_IS_ZERO else stored
    fields: Fields = {} if orientation is None else {274: (_SHORT, [orientation])}
    name = f"tiff {bits} bits, photometric {white}, {order}, orientation {orientation}"
    # Pillow doesn't know this one.
    shown = picture / 257 if (bits, white, order) == (16, WHITE_IS_ZERO, ">") else None
    data = tiff(
        stored, bits=bits, photometric=white, order=order, compression=packing, fields=fields
    )
    return Case(name, data, shown=shown)


def _deep_tiffs() -> Iterator[Case]:
    for white, order, orientation in itertools.product((1, WHITE_IS_ZERO), "<>", ORIENTATIONS):
        yield _tiff(16, white, order, orientation, RAW)
    for bits, white, order in itertools.product((8, 10, 12, 14), (1, WHITE_IS_ZERO), "<>"):
        picture = samples(1, bits)
        few = 2**bits - 1 - picture if white == WHITE_IS_ZERO else picture
        name = f"tiff {bits} of 16 bits, photometric {white}, {order}"
        shown = picture / (2**bits - 1) * 255
        for stated in (True, False):
            fields: Fields = {281: (_SHORT, [2**bits - 1])} if stated else {}
            data = tiff(few, bits=16, photometric=white, order=order, fields=fields)
            reason = None if stated else "unclear_depth"
            yield Case(f"{name}, stated {stated}", data, reason, shown=shown)


def _jpeg2000() -> Iterator[Case]:
    for channels, suffix, lossy in itertools.product((1, 2, 3, 4), (False, True), (False, True)):
        picture = samples(channels).astype(np.uint8)
        options: dict[str, Any] = {"no_jp2": suffix, "irreversible": lossy}
        yield Case(
            f"jpeg 2000 {channels} channels, bare {suffix}, lossy {lossy}",
            _pillow(picture, "JPEG2000", **options),
        )
    deep = _pillow(samples(1, 16), "JPEG2000")
    yield Case("jpeg 2000 of 16 bits", deep)
    yield Case(
        "jpeg 2000 tiles", _pillow(samples().astype(np.uint8), "JPEG2000", tile_size=(64, 64))
    )
    yield Case("jpeg 2000 with a trailer", deep + bytes(20_000))
    yield Case("jpeg 2000 cut", deep[: len(deep) // 2], "truncated")
    tiny = _pillow(np.zeros((200, 200), np.uint8), "JPEG2000", tile_size=(2, 2))
    yield Case("jpeg 2000 of 10,000 tiles", tiny, "too_complex")


def _wsqs() -> Iterator[Case]:
    import wsq  # noqa: F401  # registers itself with Pillow

    for seed, (height, width) in enumerate(((72, 100), (101, 97), (240, 320), (300, 300))):
        picture = cv2.resize(samples(seed=seed).astype(np.uint8), (width, height))
        data = _pillow(picture, "WSQ")
        yield Case(f"wsq {width}x{height}", data, dpi=500.0)
        yield Case(f"wsq {width}x{height} with a trailer", data + bytes(20_000), dpi=500.0)
        for kept in (0.5, 0.97):
            short = data[: int(len(data) * kept)]
            yield Case(f"wsq {width}x{height}, {kept} of it", short, "truncated")
            closed = short + data[-2:]
            yield Case(f"wsq {width}x{height}, {kept} of it and its end", closed, "truncated")


def _pages() -> Iterator[Case]:
    picture = samples().astype(np.uint8)
    for count in (1, 2, 5):
        yield Case(
            f"tiff of {count + 1} pages", tiff(picture, pages=[{}] * count), "several_images"
        )
    for kind in (1, 4, 5):
        yield Case(f"tiff with a page of kind {kind}", tiff(picture, pages=[{254: (4, [kind])}]))
    out = io.BytesIO()
    frames = [Image.fromarray(np.roll(picture, n)) for n in range(3)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    yield Case("png of 3 frames", out.getvalue(), "several_images")
    still = png(samples(), before=chunk(b"acTL", struct.pack(">II", 1, 0)))
    yield Case("png of one frame", still)
    for name, data, reason in _foreign():
        yield Case(name, data.ljust(200, b"\0"), reason)


def _foreign() -> Iterator[tuple[str, bytes, str]]:
    unsupported, none = "unsupported_format", "not_an_image"
    yield "heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", unsupported
    yield "avif", b"\0\0\0\x18ftypavif\0\0\0\0", unsupported
    yield "dicom", bytes(128) + b"DICM", unsupported
    yield "gif", _pillow(samples().astype(np.uint8), "GIF"), unsupported
    yield "webp", _pillow(samples().astype(np.uint8), "WEBP"), unsupported
    yield "pdf", b"%PDF-1.7\n", none
    yield "html", b"<!DOCTYPE html><html>", none
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:", none
    yield "text", b"no image at all", none


def _pillow(picture: Samples, kind: str, mode: str | None = None, **options: Any) -> bytes:
    out, image = io.BytesIO(), Image.fromarray(picture)
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()
