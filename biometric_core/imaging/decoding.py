"""Bytes of an image file to gray pixels, and measures of a capture's quality."""

import contextlib
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats import bitmap, decoders, gray, jpeg2000, stated, wsq
from biometric_core.imaging.formats.header import Header, upright
from biometric_core.schemas import UInt8Array

_LARGE = 4_000_000  # pixels: far more than a capture has
_ONE_AT_A_TIME = threading.Lock()  # up to 12 bytes a pixel, times the threads, would be gigabytes


@dataclass(frozen=True)
class Decoded:
    """An image as any viewer shows it.

    Attributes:
        gray: uint8 (H, W).
        dpi: pixels per inch as the file states them; None where it states nothing credible.
    """

    gray: UInt8Array
    dpi: float | None = None


def decode(data: bytes, limits: Ingest, bits: int | None = None) -> UInt8Array:
    """The pixels of `read`: uint8 (H, W), gray."""
    return read(data, limits, bits).gray


def read(data: bytes, limits: Ingest, bits: int | None = None) -> Decoded:
    """Decode an image file, trusting nothing but its bytes.

    Dimensions are read from the header and checked before any pixel is decoded; a file that ends
    early is refused, never padded. Bytes that are wrong rather than missing are always found in
    PNG, which has checksums; in other formats where they can't be decoded, in BMP never. What lies
    behind the end of an image is not looked at. Transparent pixels become white, 16 bits are scaled
    to 8, and the image is turned as its orientation says.

    Args:
        data: the file's bytes: BMP, PNG, JPEG, TIFF, JPEG 2000 or WSQ; the name and extension do
            not matter.
        limits: bounds on bytes, pixels and sides.
        bits: that the sensor fills of the 16 in files which don't state it; None where unknown.

    Raises:
        CaptureRefused: `empty_file`, `too_large`, `too_small`, `too_complex`, `not_an_image`,
            `unsupported_format`, `several_images`, `unclear_depth` or `truncated`
            (docs/inputs.md).
    """
    if not data:
        raise CaptureRefused("empty_file", "0 bytes")
    if len(data) > limits.max_file_bytes:
        raise CaptureRefused("too_large", f"{len(data)} bytes, at most {limits.max_file_bytes}")
    usual = bitmap.parse(data)
    if usual is None:
        return _read_any(data, limits, bits)
    _check_size(usual.width, usual.height, limits)
    if len(data) < usual.end:
        raise _truncated("BMP", data)
    pixels = gray.of(bitmap.pixels(data, usual), usual.alpha)
    if not usual.top_down:
        pixels = np.asarray(cv2.flip(pixels, 0), np.uint8)
    return Decoded(pixels, usual.dpi)


def measure(pixels: UInt8Array) -> dict[str, float]:
    """Measures of a capture, finite for every image.

    Args:
        pixels: uint8 (H, W), gray.

    Returns:
        `sharpness`: variance of the Laplacian over that of the image (Pech-Pacheco 2000, made
        independent of contrast); `contrast`: standard deviation in grey levels; `brightness`: mean
        in grey levels.
    """
    mean, deviation = cv2.meanStdDev(pixels)
    brightness, contrast = float(mean[0, 0]), float(deviation[0, 0])
    if contrast < 1e-3:
        return {"sharpness": 0.0, "contrast": 0.0, "brightness": brightness}
    edges = cv2.Laplacian(pixels, cv2.CV_16S)
    # A third of the time of meanStdDev, which has no fast path for 16 bits.
    variance = (
        cv2.norm(edges, cv2.NORM_L2SQR) - cv2.sumElems(edges)[0] ** 2 / pixels.size
    ) / pixels.size
    return {"sharpness": variance / contrast**2, "contrast": contrast, "brightness": brightness}


def _check_size(width: int, height: int, limits: Ingest) -> None:
    if width * height > limits.max_pixels:
        raise CaptureRefused("too_large", f"{width}x{height}, at most {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise CaptureRefused("too_small", f"{width}x{height}, each side at least {limits.min_side}")


def _truncated(kind: str, data: bytes) -> CaptureRefused:
    return CaptureRefused("truncated", f"{kind} of {len(data)} bytes ends before its last pixel")


def _one_if_large(width: int, height: int) -> contextlib.AbstractContextManager[Any]:
    return _ONE_AT_A_TIME if width * height > _LARGE else contextlib.nullcontext()


def _read_any(data: bytes, limits: Ingest, bits: int | None) -> Decoded:
    if jpeg2000.is_one(data):
        return _read_jpeg2000(data, limits, bits)
    if wsq.is_one(data):
        width, height = wsq.size(data)
        _check_size(width, height, limits)
        with _one_if_large(width, height):
            return Decoded(*wsq.decode(data))
    header = stated.header(data, limits.max_pixels)
    image = decoders.opened(data, header)
    width, height = image.size
    _check_size(width, height, limits)
    header = stated.with_metadata(header, image, data)
    with _one_if_large(width, height):
        pixels = decoders.pixels(image, header, data)
        if pixels.shape[:2] != (height, width):
            raise CaptureRefused(
                "not_an_image", f"{image.format} whose header and pixels differ in size"
            )
        found = gray.of_samples(pixels, header, bits)
    return Decoded(upright(found, header.orientation), header.dpi)


def _read_jpeg2000(data: bytes, limits: Ingest, bits: int | None) -> Decoded:
    width, height, depth = jpeg2000.size(data)
    _check_size(width, height, limits)
    with _one_if_large(width, height):
        pixels, dpi = jpeg2000.decode(data, (width, height))
        # Pillow scales fewer bits to the full range.
        header = Header(dpi=dpi, bits=depth if depth < 16 else None, left_aligned=True)
        return Decoded(gray.of_samples(pixels, header, bits), dpi)
