import contextlib
import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging import decoding

LIMITS = Ingest()
COLOUR = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
FORMATS = (".bmp", ".png", ".jpg", ".tif")


def encode(extension, pixels=COLOUR, options=()):
    return cv2.imencode(extension, pixels, options)[1].tobytes()


def pillow(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def reason_of(data, limits=LIMITS):
    with pytest.raises(CaptureRefused) as refused:
        decoding.decode(data, limits)
    return refused.value.reason


@pytest.mark.parametrize("extension", FORMATS)
def test_each_format_decodes_to_the_gray_that_was_written(extension):
    gray = cv2.GaussianBlur(COLOUR[..., 0], (0, 0), 3)
    found = decoding.decode(encode(extension, gray), LIMITS)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, gray, atol=0 if extension != ".jpg" else 6)


def test_colour_becomes_luminance():
    found = decoding.decode(encode(".bmp"), LIMITS)
    np.testing.assert_array_equal(found, cv2.cvtColor(COLOUR, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("kind", ["BMP", "PNG", "TIFF"])
def test_one_bit_images_are_black_and_white(kind):
    bits = np.random.default_rng(1).integers(0, 2, (40, 48)).astype(bool)
    found = decoding.decode(pillow(Image.fromarray(bits), kind), LIMITS)
    np.testing.assert_array_equal(found, bits * np.uint8(255))


@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_sixteen_bits_are_scaled_to_eight(extension):
    deep = np.linspace(0, 65535, 60 * 70).reshape(60, 70).astype(np.uint16)
    found = decoding.decode(encode(extension, deep), LIMITS)
    np.testing.assert_allclose(found, deep / 257, atol=0.51)


def test_transparent_pixels_are_paper_and_an_unused_alpha_is_ignored():
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:20, :, 3] = 255
    found = decoding.decode(encode(".png", pixels), LIMITS)
    assert (found[:20] == 0).all()
    assert (found[20:] == 255).all()
    pixels[..., 3] = 0
    assert (decoding.decode(encode(".png", pixels), LIMITS) == 0).all()


def test_every_gray_level_is_blended_with_the_paper_by_every_transparency():
    gray, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    found = decoding.decode(encode(".png", np.dstack([gray, gray, gray, alpha])), LIMITS)
    share = alpha / 255
    np.testing.assert_array_equal(found, np.round(gray * share + 255 * (1 - share)))


def test_every_level_of_sixteen_bits_is_rounded_to_the_nearest_of_eight():
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    found = decoding.decode(encode(".png", deep), LIMITS)
    np.testing.assert_array_equal(found, np.round(deep / 257))


def test_no_bytes_is_an_empty_file():
    assert reason_of(b"") == "empty_file"


@pytest.mark.parametrize(
    "data", [b"hello", b"\0" * 500, b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_what_is_no_image_is_refused(data):
    assert reason_of(data) == "not_an_image"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM"])
def test_other_formats_are_named_and_refused(kind):
    assert reason_of(pillow(Image.fromarray(COLOUR), kind)) == "unsupported_format"


@pytest.mark.parametrize("extension", [".bmp", ".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.995])
def test_a_file_cut_short_is_refused_never_padded(extension, kept):
    data = encode(extension)
    assert reason_of(data[: int(len(data) * kept)]) == "truncated"


JPEGS = ({}, {"subsampling": 2}, {"progressive": True}, {"restart_marker_blocks": 1})


@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_a_jpeg_that_lost_its_second_half_is_refused_though_its_end_is_there(options):
    data = pillow(Image.fromarray(COLOUR), "JPEG", **options)
    assert decoding.decode(data, LIMITS).shape == (60, 70)
    pixels = data.index(b"\xff\xda")  # the last scan of a progressive one is short
    kept = [len(data) // 2, len(data) - 3, data.rfind(b"\xff\xda") + 12, pixels + 20]
    if "restart_marker_blocks" in options:
        kept.append(data.index(b"\xff\xd3"))  # between two of its parts
    for size in kept:
        assert reason_of(data[:size] + b"\xff\xd9") == "truncated", size


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("side", [33, 64])
def test_a_whole_jpeg_passes_in_every_kind_and_with_bytes_after_its_end(mode, side):
    image = Image.fromarray(COLOUR[:side, :side]).convert(mode)
    for options in JPEGS if mode != "CMYK" else ({},):
        data = pillow(image, "JPEG", **options)
        assert decoding.decode(data, LIMITS).shape == image.size[::-1]
        assert decoding.decode(data + b"camera's own", LIMITS).shape == image.size[::-1]


def test_a_jpeg_that_cannot_be_checked_is_not_said_to_be_damaged():
    data = pillow(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", subsampling=2)
    assert reason_of(data) == "unsupported_format"


@pytest.mark.parametrize("extension", [".bmp", ".png", ".jpg", ".tif"])
def test_one_missing_byte_is_enough(extension):
    assert reason_of(encode(extension)[:-1]) in {"truncated", "not_an_image"}


def test_a_cut_tiff_is_refused():
    data = encode(".tif")
    assert reason_of(data[: len(data) // 2]) in {"truncated", "not_an_image"}


@pytest.mark.parametrize(("kind", "reason"), [(4, "too_large"), (2, "truncated")])
def test_a_tiff_with_an_absurd_tile_is_refused(kind, reason):
    """As a number, and as text where a number belongs."""
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 2**30, 323: 64, 324: 8, 325: 8}
    entries = [
        struct.pack("<HHII", tag, kind if tag == 322 else 4, 1, value)
        for tag, value in tags.items()
    ]
    data = struct.pack("<2sHI8xH", b"II", 42, 16, len(tags)) + b"".join(entries) + bytes(4)
    assert reason_of(data) == reason


@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_strip_of_a_tiff_is_refused_never_padded(kind):
    data = bytearray(pillow(Image.fromarray(COLOUR), "TIFF", compression=kind))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    assert reason_of(bytes(data)) in {"truncated", "not_an_image"}


def test_a_png_with_one_wrong_bit_is_refused():
    data = bytearray(encode(".png"))
    data[len(data) // 2] ^= 1
    assert reason_of(bytes(data)) == "truncated"


def test_dimensions_are_refused_from_the_header_before_any_pixel():
    data = bytearray(encode(".bmp"))
    struct.pack_into("<ii", data, 18, 50_000, 50_000)
    assert reason_of(bytes(data)) == "too_large"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Ingest(max_pixels=1000), "too_large"),
        (Ingest(max_file_bytes=1000), "too_large"),
        (Ingest(min_side=64), "too_small"),
    ],
)
def test_limits_are_kept(limits, reason):
    assert reason_of(encode(".png"), limits) == reason


def test_one_pixel_is_too_small():
    assert reason_of(encode(".png", COLOUR[:1, :1])) == "too_small"


def test_floating_point_pixels_are_refused():
    data = encode(".tif", COLOUR[..., 0].astype(np.float32))
    assert reason_of(data) == "unsupported_format"


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=120, deadline=None)
def test_damaged_bytes_are_refused_or_decoded_but_never_crash(extension, draw):
    data = bytearray(encode(extension, COLOUR[:40, :40]))
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(CaptureRefused):
        found = decoding.decode(bytes(data), LIMITS)
        assert found.dtype == np.uint8
        assert found.ndim == 2


def test_measures_of_a_flat_image_are_finite():
    found = decoding.measure(np.full((40, 40), 77, np.uint8))
    assert found == {"sharpness": 0.0, "contrast": 0.0, "brightness": 77.0}


@pytest.mark.parametrize("shape", [(40, 41), (240, 320)])
def test_measures_are_those_of_the_pixels_in_double_precision(shape):
    gray = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, shape, np.uint8), (0, 0), 1)
    exact = gray.astype(np.float64)
    edges = cv2.Laplacian(exact, cv2.CV_64F)
    assert decoding.measure(gray) == pytest.approx(
        {
            "sharpness": edges.var() / exact.var(),
            "contrast": exact.std(),
            "brightness": exact.mean(),
        },
        rel=1e-9,
    )


def test_blur_lowers_sharpness_and_contrast_scales():
    gray = cv2.GaussianBlur(COLOUR[..., 0], (0, 0), 1)
    sharp = decoding.measure(gray)
    assert decoding.measure(cv2.GaussianBlur(gray, (0, 0), 2))["sharpness"] < sharp["sharpness"]
    half = decoding.measure(gray // 2)
    assert half["contrast"] == pytest.approx(sharp["contrast"] / 2, rel=0.05)
    assert half["sharpness"] == pytest.approx(sharp["sharpness"], rel=0.1)
