"""Image files that were damaged by accident or made to do harm; seeded."""

import io
import random
import stat
import struct
import zipfile
import zlib

import cv2
import numpy as np
from PIL import Image

SUFFIXES = ("bmp", "png", "jpg", "tif")
_HUGE = (0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(number: int) -> tuple[bytes, bool | None]:
    """File `number`: a whole image to which one or several things happened.

    Returns:
        Its bytes, and whether it must be accepted (True) or refused (False); None where that
        depends on which bytes were hit.
    """
    chance = random.Random(number)
    data = bytearray(image(chance, chance.choice(SUFFIXES)))
    happened = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        happened.append(chance.choice(MUTATIONS))
        data = bytearray(happened[-1](chance, data))
    damage = [mutation for mutation in happened if mutation is not _untouched]
    if not damage:
        return bytes(data), True
    return bytes(data), False if damage in ([_cut], [_cut_before_its_end]) else None


def image(chance: random.Random, suffix: str) -> bytes:
    """A whole file of noise, with one to four channels."""
    shape = (40, 48, *chance.choice(((), (3,), (4,))))
    pixels = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, shape, np.uint8)
    if suffix == "tif":
        kind = chance.choice(("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"))
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "TIFF", compression=None if kind == "raw" else kind)
        return out.getvalue()
    if suffix == "jpg" and len(shape) == 3:
        pixels = pixels[..., :3]
    return cv2.imencode(f".{suffix}", pixels)[1].tobytes()


def _bits(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.randint(1, 24)):
        place = min(int(chance.expovariate(1 / 200)), len(data) - 1)  # headers more than pixels
        data[place] ^= 1 << chance.randrange(8)
    return data


def _cut(chance: random.Random, data: bytearray) -> bytes:
    return data[: chance.randrange(len(data))] or b"B"


def _cut_before_its_end(chance: random.Random, data: bytearray) -> bytes:
    """The last bytes, which mark the end of a JPEG and a PNG, are there; some before are not."""
    end = 12 if data.startswith(b"\x89PNG") else 2
    return data[: chance.randrange(max(1, len(data) - end))] + data[-end:]


def _hole(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    size = chance.randint(1, 400)
    return data[:start] + bytes([chance.choice((0, 255))]) * size + data[start + size :]


def _lost(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 100) :] or b"B"


def _head_of_another(chance: random.Random, data: bytearray) -> bytes:
    head = image(chance, chance.choice(SUFFIXES))[: chance.choice((2, 8, 26, 54, 138))]
    return head + data[len(head) :]


def _huge(chance: random.Random, data: bytearray) -> bytes:
    width, height = chance.choice(_HUGE), chance.choice(_HUGE)
    if data.startswith(b"BM") and len(data) > 26:
        struct.pack_into("<II", data, 18, width, height)
    elif data.startswith(b"\x89PNG") and len(data) > 33:
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif (place := data.find(b"\xff\xc0")) > 0 and len(data) > place + 9:
        struct.pack_into(">HH", data, place + 5, height & 0xFFFF, width & 0xFFFF)
    else:
        place = chance.randrange(max(1, len(data) - 8))
        data[place : place + 4] = struct.pack("<I", width)
    return data


def _untouched(chance: random.Random, data: bytearray) -> bytes:
    return data


MUTATIONS = (
    _bits,
    _bits,
    _cut,
    _cut_before_its_end,
    _hole,
    _lost,
    _head_of_another,
    _huge,
    _untouched,
)


def repeated(number: int) -> bytes:
    """File `number` of another kind: a whole image of which some parts come again and again."""
    chance = random.Random((number, "repeated").__repr__())
    make = chance.choice((_scans, _segments, _chunks, _pages, _fields, _tiles, _wsq_segments))
    return make(chance, chance.choice((1, 2, 7, 60, 500, 4_000, 30_000)))


def _saved(chance: random.Random, kind: str, side: int = 96, **options: object) -> bytes:
    pixels = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, (side, side), np.uint8)
    out = io.BytesIO()
    Image.fromarray(cv2.GaussianBlur(pixels, (0, 0), 2)).save(out, kind, **options)
    return out.getvalue()


def _scans(chance: random.Random, count: int) -> bytes:
    """Of a large picture too, which takes a decoder the longest."""
    side = chance.choice((96, 96, 5_000 if count in (60, 4_000) else 96))
    data = _saved(chance, "JPEG", side, progressive=True, quality=chance.choice((1, 80)))
    first, last = data.find(b"\xff\xda"), data.rfind(b"\xff\xda")
    scan = data[chance.choice((first, last)) : -2][: 4 << 10]
    return data[:-2] + scan * min(count, (24 << 20) // len(scan)) + data[-2:]


def _segments(chance: random.Random, count: int) -> bytes:
    data = _saved(chance, "JPEG")
    body = bytes(chance.randrange(60))
    marker = bytes([0xFF, chance.choice((0xE1, 0xDB, 0xFE, 0xC4, 0xDD))])
    segment = marker + struct.pack(">H", len(body) + 2) + body
    return data[:2] + segment * count + data[2:]


def _chunks(chance: random.Random, count: int) -> bytes:
    data = _saved(chance, "PNG")
    name = chance.choice((b"tEXt", b"eXIf", b"IDAT", b"PLTE", b"fcTL", b"acTL", b"sBIT", b"IHDR"))
    body = bytes(chance.randrange(40))
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    place = chance.choice((33, len(data) - 12))
    return data[:place] + chunk * min(count * chance.choice((1, 10)), 500_000) + data[place:]


def _pages(chance: random.Random, count: int) -> bytes:
    """Further directories, some that lead back to an earlier one."""
    data = bytearray(_saved(chance, "TIFF"))
    (place,) = struct.unpack_from("<I", data, 4)
    (fields,) = struct.unpack_from("<H", data, place)
    directory = bytes(data[place : place + 2 + 12 * fields])
    struct.pack_into("<I", data, place + len(directory), len(data) + len(data) % 2)
    data += bytes(len(data) % 2)
    for number in range(count):
        following = len(data) + len(directory) + 4
        last = chance.choice((0, place)) if number == count - 1 else following
        data += directory + struct.pack("<I", last)
    return bytes(data)


def _fields(chance: random.Random, count: int) -> bytes:
    """Fields of a directory, each of the whole file."""
    data = bytearray(_saved(chance, "TIFF"))
    (place,) = struct.unpack_from("<I", data, 4)
    (fields,) = struct.unpack_from("<H", data, place)
    known = bytes(data[place + 2 : place + 2 + 12 * fields])
    most = min(count, 60_000)
    size = chance.choice((1, 4_000, len(data)))
    more = b"".join(struct.pack("<HHII", 40_000 + n % 20_000, 7, size, 8) for n in range(most))
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data) + struct.pack("<H", fields + most) + known + more + bytes(4)


def _tiles(chance: random.Random, count: int) -> bytes:
    """Of a JPEG 2000: more tiles than anybody needs, or parts of one that come again."""
    if chance.random() < 0.5:
        side = max(1, round(512 / min(count, 40_000) ** 0.5))
        return _saved(chance, "JPEG2000", 512, tile_size=(side, side))
    data = _saved(chance, "JPEG2000", no_jp2=True)
    place = data.find(b"\xff\x90")
    return data[:place] + data[place:-2] * min(count, 2_000) + data[-2:]


def _wsq_segments(chance: random.Random, count: int) -> bytes:
    import wsq  # noqa: F401  # registers itself with Pillow

    data = _saved(chance, "WSQ")
    place, found = 2, []
    while data[place + 1] != 0xA3:
        (length,) = struct.unpack_from(">H", data, place + 2)
        found.append(data[place : place + 2 + length])
        place += 2 + length
    blocks = data[place:-2]
    again = chance.choice((*found, blocks))
    return data[:place] + again * min(count, (24 << 20) // len(again)) + data[place:]


def deep_png(first: int) -> bytes:
    """200 MB of pixels, and allowed; other pixels for each `first` from 1."""
    return _png(5_000, 5_000, 16, first=first)


def bombs() -> dict[str, bytes]:
    """Small files that would need gigabytes; each is to be refused or read in bounded memory."""
    return {
        "fits": _fits(),
        "tiff_tile": _tiff(64, 64, {322: 2**15, 323: 2**15}),
        "tiff_size": _tiff(60_000, 60_000, {278: 60_000}),
        "png_size": _png(50_000, 50_000, 8),
        "png_deep": deep_png(1),
        "png_text": _png(64, 64, 8, b"zTXt" + b"k\0\0" + zlib.compress(bytes(50 << 20), 9)),
        "bmp_rle": _bmp_rle(),
    }


def _fits() -> bytes:
    cards = ("SIMPLE  =                    T", "BITPIX  =                  -64")
    cards += ("NAXIS   =                    2", "NAXIS1  =               999999")
    cards += ("NAXIS2  =               999999", "END")
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode()


def _tiff(width: int, height: int, extra: dict[int, int]) -> bytes:
    pixels = zlib.compress(bytes(4 << 20), 9)
    tiled = 322 in extra
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1} | extra
    tags |= {324 if tiled else 273: 8, 325 if tiled else 279: len(pixels)}
    start = 8 + len(pixels)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return (
        struct.pack("<2sHI", b"II", 42, start)
        + pixels
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def _png(width: int, height: int, bits: int, extra: bytes = b"", first: int = 1) -> bytes:
    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    row = 1 + width * 4 * bits // 8
    packer = zlib.compressobj(9)
    lines = b"\0" + bytes(range(first, 250)) * (row // (250 - first) + 1)
    body = b"".join(packer.compress(lines[:row]) for _ in range(min(height, 5_000)))
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, 6, 0, 0, 0)
    parts = [head, *([extra] if extra else []), b"IDAT" + body + packer.flush(), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, parts))


def _bmp_rle() -> bytes:
    """5,000 x 5,000 of which nothing is drawn."""
    info = struct.pack("<IiiHHIIiiII", 40, 5_000, 5_000, 1, 8, 1, 2, 1, 1, 256, 0)
    start = 14 + len(info) + 1024
    file = struct.pack("<2sIHHI", b"BM", start + 2, 0, 0, start)
    return file + info + bytes(1024) + b"\0\1"


def hostile_zip(good: dict[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A .zip of whole files and of members that are none; each of those with the reason."""
    zeros = _ten_gigabytes_of_zeros()
    out, reasons = io.BytesIO(), {}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in good.items():
            archive.writestr(name, data)
        whole = next(iter(good.values()))
        for name in ("../iris/901_L_01.bmp", "/iris/902_L_01.bmp", "iris/../../903_L_01.bmp"):
            archive.writestr(name, whole)
            reasons[name] = "path_leaves_archive"
        link = zipfile.ZipInfo("iris/904_L_01.bmp")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        reasons[link.filename] = "not_a_file"
        name = next(iter(good)).swapcase()
        archive.writestr(name, b"the same name on some disks")
        reasons[name] = "duplicate_member"
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as nested:
            nested.writestr("iris/905_L_01.bmp", whole)
        archive.writestr("iris/905_L_01.bmp", inner.getvalue())
        archive.writestr("iris/more.zip", inner.getvalue())
        reasons |= {"iris/905_L_01.bmp": "unsupported_format", "iris/more.zip": "nested_archive"}
        for name, reason in (("906", "too_large"), ("907", "damaged_member")):
            member = zipfile.ZipInfo(f"iris/{name}_L_01.bmp")  # stored, and then said to be deflate
            archive.writestr(member, zeros)
            reasons[member.filename] = reason
    data = bytearray(out.getvalue())
    for name, stated in (("906", 2**32 - 2), ("907", 5_000_000)):
        _state(data, f"iris/{name}_L_01.bmp".encode(), stated)
    return bytes(data), reasons


def _state(data: bytearray, name: bytes, size: int) -> None:
    """Make both headers of a member say that it is deflated, and from how many bytes."""
    for signature, length, place in ((b"PK\3\4", 30, 8), (b"PK\1\2", 46, 10)):
        start = data.index(name, data.index(name) + 1 if length == 46 else 0) - length
        assert data[start : start + 4] == signature
        struct.pack_into("<H", data, start + place, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", data, start + place + 14, size)


def _ten_gigabytes_of_zeros() -> bytes:
    """As deflate, 10 MB: the same block again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * 640 + packer.flush()
