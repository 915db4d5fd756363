"""What a BMP, PNG, JPEG or TIFF states about its pixels, by its headers and its metadata."""

from dataclasses import replace
from typing import TYPE_CHECKING

from biometric_core.imaging.formats import bitmap, foreign, jpeg, png, tiff
from biometric_core.imaging.formats.header import Header, believed_dpi, believed_orientation

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_ORIENTATION = 0x112
_METADATA = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}


def header(data: bytes, max_pixels: int) -> Header:
    """What can be read before any library sees the file.

    Raises:
        CaptureRefused: it is of another kind, holds several images, would keep a decoder busy for
            minutes, ends early, or contradicts itself.
    """
    if data.startswith(png.SIGNATURE):
        return png.header(data)
    if data.startswith(jpeg.SIGNATURE):
        jpeg.check(data)
    elif data.startswith(tiff.SIGNATURES):
        return tiff.header(data, max_pixels)
    elif data.startswith(bitmap.SIGNATURE):
        bitmap.check(data)
    elif (refusal := foreign.seems(data)) is not None:
        raise refusal
    return Header()


def with_metadata(header: Header, image: "ImageFile", data: bytes) -> Header:
    """The header, and what Pillow found in EXIF, XMP and the fields of the format.

    Args:
        header: what `header` found.
        image: opened by Pillow, not decoded.
        data: the file's bytes.
    """
    if image.format == "TIFF":  # its decoders turn the pixels themselves
        return header
    dpi = header.dpi
    if dpi is None and image.format != "PNG":
        dpi = believed_dpi(*image.info.get("dpi", (0, 0)))
    return replace(header, orientation=_orientation(header, image, data), dpi=dpi)


def _orientation(header: Header, image: "ImageFile", data: bytes) -> int:
    try:
        if header.metadata_behind:
            image = _loaded(data)
        if not _METADATA & image.info.keys():
            return header.orientation
        return believed_orientation(image.getexif().get(_ORIENTATION))
    except Exception:  # a parser of damaged bytes raises nearly anything: then nothing is stated
        return header.orientation


def _loaded(data: bytes) -> "ImageFile":
    """The image with the metadata that lie behind its pixels."""
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(data), formats=("PNG",))
    image.load()
    return image
