import itertools
import struct

import cv2
import numpy as np
import pytest

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging import decoding
from biometric_core.imaging.formats import bitmap
from tests.support.bitmaps import ALPHA, BGR, bmp

WIDTHS = (32, 33, 34, 35)  # rows with zero to three bytes of padding
HEIGHT = 40
CROPPED = -1  # each pixel wholly opaque or wholly transparent


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def gray_by_opencv(data: bytes) -> np.ndarray:
    """The slow way: OpenCV's decoder, then white paper behind what is transparent."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        return pixels
    gray = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_BGR2GRAY)
    if pixels.shape[2] == 3 or pixels[..., 3].max() == 0 or pixels[..., 3].min() == 255:
        return gray
    share = pixels[..., 3].astype(np.float32) / 255
    return np.round(gray * share + 255 * (1 - share)).astype(np.uint8)


def with_alpha(width: int, alpha: int | None) -> np.ndarray:
    pixels = noise(width, HEIGHT, width, 4)
    if alpha == CROPPED:
        pixels[..., 3] = 255 * (pixels[..., 3] > 100)
    elif alpha is not None:
        pixels[..., 3] = alpha
    return pixels.reshape(HEIGHT, -1)


def assert_as_opencv(data: bytes, usual: bool = True) -> None:
    assert (bitmap.parse(data) is not None) is usual
    np.testing.assert_array_equal(decoding.decode(data, Ingest()), gray_by_opencv(data))


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
def test_colour_bitmaps_are_as_opencv_reads_them(header, width, top_down):
    rows = noise(header + width, HEIGHT, width * 3)
    assert_as_opencv(bmp(rows, width=width, bits=24, header=header, top_down=top_down, gap=width))
    rows = with_alpha(width, None)  # without masks the fourth byte means nothing
    assert_as_opencv(bmp(rows, width=width, bits=32, header=header, top_down=top_down))


@pytest.mark.parametrize("alpha", [0, 255, 77, CROPPED, None])
@pytest.mark.parametrize("mask", [0, ALPHA])
@pytest.mark.parametrize("header", [56, 108, 124])
def test_transparent_bitmaps_are_as_opencv_reads_them(header, mask, alpha):
    rows = with_alpha(35, alpha)
    assert_as_opencv(bmp(rows, width=35, bits=32, header=header, packing=3, masks=(*BGR, mask)))


@pytest.mark.parametrize("colours", [2, 200, 256])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_bitmaps_with_a_palette_are_as_opencv_reads_them(width, gray, colours):
    palette = noise(colours, colours, 4)
    if gray:
        palette[:, 1:] = palette[:, :1]
    rows = noise(width, HEIGHT, width)  # also names colours that a short palette lacks
    assert_as_opencv(bmp(rows, width=width, bits=8, palette=palette))
    assert_as_opencv(bmp(rows, width=width, bits=8, palette=palette, top_down=True, header=124))


@pytest.mark.parametrize(
    ("bits", "header", "packing", "masks"),
    [
        (16, 40, 0, BGR),
        (16, 40, 3, (0xF800, 0x7E0, 0x1F)),
        (24, 64, 0, BGR),
    ],
)
def test_unusual_bitmaps_take_the_general_path(bits, header, packing, masks):
    rows = noise(bits, HEIGHT, 32 * bits // 8)
    assert_as_opencv(
        bmp(rows, width=32, bits=bits, header=header, packing=packing, masks=masks), usual=False
    )


@pytest.mark.parametrize("fourth", [0, 255, 77, CROPPED, None])
@pytest.mark.parametrize("header", [40, 52])
def test_a_header_with_three_masks_knows_no_transparency(header, fourth):
    rows = with_alpha(35, fourth)
    data = bmp(rows, width=35, bits=32, header=header, packing=3)
    colours = np.ascontiguousarray(rows.reshape(HEIGHT, 35, 4)[::-1, :, :3])
    expected = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(decoding.decode(data, Ingest()), expected)


@pytest.mark.parametrize("header", [40, 52, 56, 124])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_colours_in_any_order_of_bytes_are_read(order, header):
    rows = noise(header, HEIGHT, 35 * 4)
    masks = tuple(0xFF << 8 * place for place in order)  # of red, green, blue, alpha
    data = bmp(rows, width=35, bits=32, header=header, packing=3, masks=masks)
    red, green, blue, alpha = (rows.reshape(HEIGHT, 35, 4)[::-1, :, place] for place in order)
    gray = cv2.cvtColor(np.dstack([blue, green, red]), cv2.COLOR_BGR2GRAY)
    share = alpha / 255 if header >= 56 else 1.0
    found = decoding.decode(data, Ingest())
    np.testing.assert_allclose(found, gray * share + 255 * (1 - share), atol=0.51)


@pytest.mark.parametrize("header", [40, 124])
def test_without_a_palette_and_room_for_one_samples_are_gray(header):
    rows = noise(header, HEIGHT, 33)
    data = bytearray(bmp(rows, width=33, bits=8, header=header))
    found = decoding.decode(bytes(data), Ingest())
    np.testing.assert_array_equal(found, rows[::-1])


@pytest.mark.parametrize(
    ("bits", "start", "where"),
    [
        (8, 0, "header"),
        (8, 53, "header"),
        (8, 54, "palette of 256 colours"),
        (8, 1077, "palette of 256 colours"),
        (4, 54, "palette of 16 colours"),
        (1, 61, "palette of 2 colours"),
        (24, 0, "header"),
        (24, 53, "header"),
        (32, 14, "header"),
    ],
)
def test_pixels_that_would_begin_before_header_and_palette_end_are_refused(bits, start, where):
    palette = noise(bits, 2**bits, 4) if bits <= 8 else None
    rows = noise(bits, HEIGHT, (33 * bits + 7) // 8)
    data = bytearray(bmp(rows, width=33, bits=bits, palette=palette))
    struct.pack_into("<I", data, 10, start)
    with pytest.raises(CaptureRefused, match=f"not_an_image.*inside its.*{where}"):
        decoding.decode(bytes(data), Ingest())


def test_three_masks_belong_to_a_header_of_40_bytes():
    data = bytearray(bmp(noise(1, HEIGHT, 33 * 4), width=33, bits=32, packing=3))
    struct.pack_into("<I", data, 10, 54)
    with pytest.raises(CaptureRefused, match="inside its 66 bytes of header"):
        decoding.decode(bytes(data), Ingest())


def test_masks_that_are_no_bytes_are_unsupported_not_damage():
    masks = (0x3FF00000, 0xFFC00, 0x3FF)  # 10 bits each
    data = bmp(noise(1, HEIGHT, 33 * 4), width=33, bits=32, packing=3, masks=masks)
    with pytest.raises(CaptureRefused, match="unsupported_format"):
        decoding.decode(data, Ingest())


@pytest.mark.parametrize(("metres", "dpi"), [(19685, 500), (39370, 1000), (2835, None), (0, None)])
def test_the_stated_resolution_is_told_if_a_sensor_may_have_it(metres, dpi):
    data = bytearray(bmp(noise(1, HEIGHT, 99), width=33, bits=24))
    struct.pack_into("<ii", data, 38, metres, metres)
    assert decoding.read(bytes(data), Ingest()).dpi == dpi


@pytest.mark.parametrize("bits", [8, 24, 32])
@pytest.mark.parametrize("header", [40, 124])
def test_a_bitmap_without_its_last_byte_is_refused(bits, header):
    palette = noise(0, 256, 4) if bits == 8 else None
    whole = bmp(
        noise(1, HEIGHT, 33 * bits // 8), width=33, bits=bits, header=header, palette=palette
    )
    with pytest.raises(CaptureRefused, match="truncated"):
        decoding.decode(whole[:-1], Ingest())


def test_no_pixel_is_made_for_a_size_that_the_file_cannot_hold():
    data = bytearray(bmp(noise(1, HEIGHT, 99), width=33, bits=24))
    struct.pack_into("<i", data, 18, 5_000)
    with pytest.raises(CaptureRefused, match="truncated"):
        decoding.decode(bytes(data), Ingest())
    struct.pack_into("<i", data, 18, 2**31 - 1)
    with pytest.raises(CaptureRefused, match="too_large"):
        decoding.decode(bytes(data), Ingest())


def test_rows_that_would_begin_behind_the_file_are_refused():
    data = bytearray(bmp(noise(1, HEIGHT, 99), width=33, bits=24))
    struct.pack_into("<I", data, 10, 2**31)
    with pytest.raises(CaptureRefused, match="truncated"):
        decoding.decode(bytes(data), Ingest())
