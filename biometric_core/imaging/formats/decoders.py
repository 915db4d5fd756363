"""Pixels of a BMP, PNG, JPEG or TIFF, by OpenCV; others find the damage that it passes over."""

import io
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats import bitmap, jpeg, png, tiff
from biometric_core.imaging.formats.foreign import unsupported
from biometric_core.imaging.formats.gray import Samples
from biometric_core.imaging.formats.header import Header

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_PARSERS = ("BMP", "PNG", "JPEG", "TIFF")

# What these say about damaged files comes out as CaptureRefused. For the whole process, because
# warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def opened(data: bytes, header: Header) -> "ImageFile":
    """The image, of which only the header has been read.

    Raises:
        CaptureRefused: `not_an_image`, `unsupported_format` or `too_large`.
    """
    # Registers itself; without it Pillow would load every parser there is.
    import PIL.TiffImagePlugin  # noqa: F401
    from PIL import Image as Images
    from PIL import UnidentifiedImageError

    if header.white_is_zero and header.depth == 16:
        data = tiff.black_is_zero(data)
    try:
        image = Images.open(io.BytesIO(data), formats=_PARSERS)  # no other parser sees these bytes
    except UnidentifiedImageError:
        raise _unidentified(data, header) from None
    except Images.DecompressionBombError as error:
        raise CaptureRefused("too_large", str(error)) from None
    except Exception as error:  # a parser of damaged bytes raises nearly anything
        if str(error).startswith("Unsupported"):
            raise unsupported(f"{str(error)[:80]}") from None
        raise CaptureRefused("not_an_image", f"damaged header ({type(error).__name__})") from None
    if image.format == "MPO":  # a JPEG with others behind its end: viewers show the first
        image.format = "JPEG"
    if image.format not in _PARSERS:
        raise unsupported(image.format or "unknown format")
    return image


def _unidentified(data: bytes, header: Header) -> CaptureRefused:
    if data.startswith(tiff.SIGNATURES) and header.depth:
        return unsupported(f"TIFF of a rare kind, {header.depth} bits a sample")
    known = {jpeg.SIGNATURE: "JPEG", png.SIGNATURE[:4]: "PNG", bitmap.SIGNATURE: "BMP"}
    known |= dict.fromkeys(tiff.SIGNATURES, "TIFF")
    for magic, kind in known.items():
        if data.startswith(magic):
            return CaptureRefused("not_an_image", f"{kind} with a damaged header, or a rare kind")
    return CaptureRefused("not_an_image", "no image header")


def pixels(image: "ImageFile", header: Header, data: bytes) -> Samples:
    """The samples: uint8 or uint16, (H, W) or (H, W, C) in BGR; of a TIFF turned upright.

    Args:
        image: what `opened` gave; it is used up.
        header: of the file.
        data: the file's bytes.

    Raises:
        CaptureRefused: `truncated` or `unsupported_format`.
    """
    kind = image.format or ""
    _check_whole(image, kind, data)
    if header.by_pillow:
        return samples_of(image)
    found = _by_opencv(kind, data)
    return np.ascontiguousarray(found[..., :3]) if header.opaque and found.ndim == 3 else found


def _check_whole(image: "ImageFile", kind: str, data: bytes) -> None:
    """Refuse damage that OpenCV passes over.

    Wrong checksums of a PNG, strips of a TIFF that can't be read, and what libjpeg only warns of:
    it fills what is missing with gray, and neither OpenCV nor Pillow passes its warnings on.
    """
    try:
        if kind == "TIFF":
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


def _by_opencv(kind: str, data: bytes) -> Samples:
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CaptureRefused("truncated", f"{kind} that can't be decoded ({error.err})") from None
    if found is None:
        raise CaptureRefused("truncated", f"{kind} of {len(data)} bytes: cut short or damaged")
    if found.dtype not in (np.uint8, np.uint16):
        raise CaptureRefused("unsupported_format", f"{kind} with {found.dtype} pixels: use 8 bits")
    if found.ndim == 3 and found.shape[2] not in (1, 3, 4):
        raise CaptureRefused("unsupported_format", f"{kind} with {found.shape[2]} channels")
    return np.asarray(found)


def samples_of(image: "Image") -> Samples:
    """The same of an image that Pillow has decoded."""
    if image.mode in ("L", "I;16"):
        return np.asarray(image)
    if image.mode == "I;16B":
        return np.asarray(image).astype(np.uint16)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))[..., [2, 1, 0, 3]]
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
