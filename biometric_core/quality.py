"""Bytes of an image file to gray pixels, and measures of a capture's quality."""

import io
import struct
import warnings

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.schemas import UInt8Array

FORMATS = ("BMP", "PNG", "JPEG", "TIFF")
_PAPER = 255  # what shows through transparent pixels


def decode(data: bytes, limits: Ingest) -> UInt8Array:
    """Decode an image file, trusting nothing but its bytes.

    Dimensions are read from the header and checked before any pixel is decoded; a file that ends
    early is refused, never padded. Transparent pixels become white, 16 bits are scaled to 8.

    Args:
        data: the file's bytes: BMP, PNG, JPEG or TIFF; the name and extension do not matter.
        limits: bounds on bytes, pixels and sides.

    Returns:
        uint8 (H, W), gray.

    Raises:
        CaptureRefused: `empty_file`, `too_large`, `too_small`, `not_an_image`, `unsupported_format`
            or `truncated`.
    """
    if not data:
        raise CaptureRefused("empty_file", "0 bytes")
    if len(data) > limits.max_file_bytes:
        raise CaptureRefused("too_large", f"{len(data)} bytes, at most {limits.max_file_bytes}")
    kind, width, height = _header(data)
    if width * height > limits.max_pixels:
        raise CaptureRefused("too_large", f"{width}x{height}, at most {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise CaptureRefused("too_small", f"{width}x{height}, each side at least {limits.min_side}")
    if _ends_early(kind, data):
        raise CaptureRefused("truncated", f"{kind} of {len(data)} bytes ends before its last pixel")
    pixels = _pixels(kind, data)
    if pixels.shape[:2] != (height, width):
        raise CaptureRefused("not_an_image", f"{kind} whose header and pixels differ in size")
    return _to_gray(pixels)


def measure(gray: UInt8Array) -> dict[str, float]:
    """Measures of a capture, finite for every image.

    Args:
        gray: uint8 (H, W).

    Returns:
        `sharpness`: variance of the Laplacian over that of the image (Pech-Pacheco 2000, made
        independent of contrast); `contrast`: standard deviation in grey levels; `brightness`: mean
        in grey levels.
    """
    values = gray.astype(np.float32)
    contrast = float(values.std())
    if contrast < 1e-3:
        return {"sharpness": 0.0, "contrast": 0.0, "brightness": float(values.mean())}
    edges = cv2.Laplacian(values, cv2.CV_32F)
    return {
        "sharpness": float(edges.var()) / contrast**2,
        "contrast": contrast,
        "brightness": float(values.mean()),
    }


def _header(data: bytes) -> tuple[str, int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd tags; size is judged by the caller
            image = Image.open(io.BytesIO(data))  # lazy: reads the header only
    except UnidentifiedImageError:
        raise CaptureRefused("not_an_image", "no image header") from None
    except Image.DecompressionBombError as error:
        raise CaptureRefused("too_large", str(error)) from None
    except (OSError, ValueError, SyntaxError, OverflowError, EOFError) as error:
        raise CaptureRefused("not_an_image", f"damaged header ({error})") from None
    kind, (width, height) = image.format or "", image.size
    if kind not in FORMATS:
        raise CaptureRefused("unsupported_format", f"{kind}: use one of {', '.join(FORMATS)}")
    return kind, width, height


def _ends_early(kind: str, data: bytes) -> bool:
    """Whether the end is missing. Decoders differ between versions in what they pad with gray."""
    if kind == "PNG":
        return b"IEND" not in data[-4096:]
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-4096:]
    if kind == "BMP" and data[14:18] == b"\x28\0\0\0":
        (start,) = struct.unpack_from("<I", data, 10)
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        row = (width * bits + 31) // 32 * 4
        return compression in (0, 3) and len(data) < start + row * abs(height)
    return False


def _pixels(kind: str, data: bytes) -> npt.NDArray[np.generic]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CaptureRefused("truncated", f"{kind} that can't be decoded ({error.err})") from None
    if pixels is None:
        raise CaptureRefused("truncated", f"{kind} of {len(data)} bytes: cut short or damaged")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CaptureRefused("unsupported_format", f"{kind} with {pixels.dtype} pixels: use 8 bits")
    return np.asarray(pixels)


def _to_gray(pixels: npt.NDArray[np.generic]) -> UInt8Array:
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels.astype(np.float32) / 257).astype(np.uint8)
    colour = np.asarray(pixels, np.uint8)
    if colour.ndim == 2 or colour.shape[2] == 1:
        return colour.reshape(colour.shape[:2])
    bgr = np.ascontiguousarray(colour[..., :3])
    gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    if colour.shape[2] < 4:
        return gray
    alpha = colour[..., 3]
    if alpha.max() == 0 or alpha.min() == 255:  # many writers leave the fourth byte at 0
        return gray
    share = alpha.astype(np.float32) / 255
    return np.asarray(np.round(gray * share + _PAPER * (1 - share)), np.uint8)
