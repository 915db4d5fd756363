"""Bytes of an image file to gray pixels, and measures of a capture's quality."""

import contextlib
import io
import struct
import threading
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging import bitmap
from biometric_core.schemas import UInt8Array

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("BMP", "PNG", "JPEG", "TIFF")
_FOREIGN = {b"GIF8": "GIF", b"RIFF": "WEBP", b"SIMPLE": "FITS", b"PK\3\4": "ZIP"} | {
    b"P%d\n" % number: "PNM" for number in range(1, 7)
}
_LARGE = 4_000_000  # pixels: far more than a capture has
_ONE_AT_A_TIME = threading.Lock()  # up to 12 bytes a pixel, times the threads, would be gigabytes
_LONG_BMP_HEADERS = tuple(struct.pack("<I", size) for size in (40, 52, 56, 64, 108, 124))
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of a TIFF

# What these say about damaged files comes out as CaptureRefused. For the whole process, because
# warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes, limits: Ingest) -> UInt8Array:
    """Decode an image file, trusting nothing but its bytes.

    Dimensions are read from the header and checked before any pixel is decoded; a file that ends
    early is refused, never padded. Bytes that are wrong rather than missing are always found in
    PNG, which has checksums; in JPEG and TIFF where they can't be decoded, in BMP never.
    Transparent pixels become white, 16 bits are scaled to 8.

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
    usual = bitmap.parse(data)
    if usual is None:
        return _decode_any(data, limits)
    _check_size(usual.width, usual.height, limits)
    if len(data) < usual.end:
        raise _truncated("BMP", data)
    gray = _to_gray(bitmap.pixels(data, usual), usual.alpha)
    return gray if usual.top_down else np.asarray(cv2.flip(gray, 0), np.uint8)


def measure(gray: UInt8Array) -> dict[str, float]:
    """Measures of a capture, finite for every image.

    Args:
        gray: uint8 (H, W).

    Returns:
        `sharpness`: variance of the Laplacian over that of the image (Pech-Pacheco 2000, made
        independent of contrast); `contrast`: standard deviation in grey levels; `brightness`: mean
        in grey levels.
    """
    mean, deviation = cv2.meanStdDev(gray)
    brightness, contrast = float(mean[0, 0]), float(deviation[0, 0])
    if contrast < 1e-3:
        return {"sharpness": 0.0, "contrast": 0.0, "brightness": brightness}
    edges = cv2.Laplacian(gray, cv2.CV_16S)
    # A third of the time of meanStdDev, which has no fast path for 16 bits.
    variance = (
        cv2.norm(edges, cv2.NORM_L2SQR) - cv2.sumElems(edges)[0] ** 2 / gray.size
    ) / gray.size
    return {"sharpness": variance / contrast**2, "contrast": contrast, "brightness": brightness}


def _check_size(width: int, height: int, limits: Ingest) -> None:
    if width * height > limits.max_pixels:
        raise CaptureRefused("too_large", f"{width}x{height}, at most {limits.max_pixels} pixels")
    if min(width, height) < limits.min_side:
        raise CaptureRefused("too_small", f"{width}x{height}, each side at least {limits.min_side}")


def _truncated(kind: str, data: bytes) -> CaptureRefused:
    return CaptureRefused("truncated", f"{kind} of {len(data)} bytes ends before its last pixel")


def _decode_any(data: bytes, limits: Ingest) -> UInt8Array:
    image = _open(data)
    kind, (width, height) = image.format or "", image.size
    _check_size(width, height, limits)
    if _ends_early(kind, data):
        raise _truncated(kind, data)
    with _ONE_AT_A_TIME if width * height > _LARGE else contextlib.nullcontext():
        _check_whole(image, kind, data, limits)
        pixels = _pixels(kind, data)
        if pixels.shape[:2] != (height, width):
            raise CaptureRefused("not_an_image", f"{kind} whose header and pixels differ in size")
        return _to_gray(pixels)


def _open(data: bytes) -> "ImageFile":
    """The image, of which only the header has been read."""
    # Registers itself; without it Pillow would load every parser there is.
    import PIL.TiffImagePlugin  # noqa: F401
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)  # no other parser sees these bytes
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Image.DecompressionBombError as error:
        raise CaptureRefused("too_large", str(error)) from None
    except Exception as error:  # a parser of damaged bytes raises nearly anything
        raise CaptureRefused("not_an_image", f"damaged header ({type(error).__name__})") from None
    if image.format not in FORMATS:
        raise _unsupported(image.format or "unknown format")
    return image


def _unidentified(data: bytes) -> CaptureRefused:
    for magic, kind in _FOREIGN.items():
        if data.startswith(magic):
            return _unsupported(kind)
    return CaptureRefused("not_an_image", "no image header")


def _unsupported(kind: str) -> CaptureRefused:
    return CaptureRefused("unsupported_format", f"{kind}: use one of {', '.join(FORMATS)}")


def _ends_early(kind: str, data: bytes) -> bool:
    """Whether the end is missing. Decoders differ between versions in what they pad with gray."""
    if kind == "PNG":
        return b"IEND" not in data[-4096:]
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-4096:]
    if kind == "BMP" and data[14:18] in _LONG_BMP_HEADERS:
        (start,) = struct.unpack_from("<I", data, 10)
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
        row = (width * bits + 31) // 32 * 4
        return packing in (0, 3) and len(data) < start + row * abs(height)
    return False


def _check_whole(image: "ImageFile", kind: str, data: bytes, limits: Ingest) -> None:
    """Refuse damage that OpenCV passes over.

    Wrong checksums of a PNG, strips of a TIFF that can't be read, and what libjpeg only warns of:
    it fills what is missing with gray, and neither OpenCV nor Pillow passes its warnings on.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        if isinstance(image, TiffImageFile):
            tile = image.tag_v2.get(_TILE_WIDTH, 1) * image.tag_v2.get(_TILE_LENGTH, 1)
            if tile > limits.max_pixels:
                raise CaptureRefused("too_large", f"a tile of more than {limits.max_pixels} pixels")
            image.load()
        elif kind == "PNG":
            image.verify()
        elif kind == "JPEG":
            _check_jpeg(data)
    except CaptureRefused:
        raise
    except Exception as error:  # a parser of damaged bytes raises nearly anything
        raise CaptureRefused("truncated", f"{kind} damaged ({type(error).__name__})") from None


def _check_jpeg(data: bytes) -> None:
    try:
        simplejpeg.decode_jpeg(data, "GRAY", strict=True)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        raise CaptureRefused("unsupported_format", "JPEG with rare chroma subsampling") from None


def _pixels(kind: str, data: bytes) -> npt.NDArray[np.integer[Any]]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CaptureRefused("truncated", f"{kind} that can't be decoded ({error.err})") from None
    if pixels is None:
        raise CaptureRefused("truncated", f"{kind} of {len(data)} bytes: cut short or damaged")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise CaptureRefused("unsupported_format", f"{kind} with {pixels.dtype} pixels: use 8 bits")
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        raise CaptureRefused("unsupported_format", f"{kind} with {pixels.shape[2]} channels")
    return np.asarray(pixels)


def _to_gray(pixels: npt.NDArray[np.integer[Any]], transparent: bool = True) -> UInt8Array:
    """Gray of (H, W), (H, W, 1), BGR or BGRA; the fourth channel counts if `transparent`."""
    deep = pixels.dtype == np.uint16
    colour = np.asarray(cv2.convertScaleAbs(pixels, alpha=1 / 257) if deep else pixels, np.uint8)
    if colour.ndim == 2 or colour.shape[2] == 1:
        return colour.reshape(colour.shape[:2])
    if colour.shape[2] == 3:
        return np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY), np.uint8)
    gray = np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGRA2GRAY), np.uint8)
    if not transparent:
        return gray
    return _on_paper(gray, np.asarray(cv2.extractChannel(colour, 3), np.uint8))


def _on_paper(gray: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    opaque = cv2.countNonZero(alpha)
    if opaque == 0:  # many writers leave the fourth byte at 0
        return gray
    if cv2.norm(alpha, cv2.NORM_L1) == 255 * opaque:  # all or nothing: sensors crop that way
        return np.asarray(cv2.bitwise_or(gray, cv2.bitwise_not(alpha)), np.uint8)
    shown = cv2.multiply(gray, alpha, scale=1 / 255)
    return np.asarray(cv2.add(shown, cv2.bitwise_not(alpha)), np.uint8)  # the paper is white
