"""What a file that can't be read seems to be, so that a refusal says it."""

from biometric_core.errors import CaptureRefused

READ = ("BMP", "PNG", "JPEG", "TIFF", "JPEG 2000", "WSQ")
_IMAGES = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"SIMPLE  =", "FITS"),
    *((0, b"P%d" % number + space, "PNM") for number in range(1, 8) for space in (b"\n", b" ")),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "Photoshop document"),
    (128, b"DICM", "DICOM"),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"FIR\0", "ISO 19794-4 finger image record"),
    (0, b"IIR\0", "ISO 19794-6 iris image record"),
)
_OTHERS = (
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer; run `git lfs pull`"),
    (0, b"../.git/annex/", "a git-annex pointer; run `git annex get`"),
    (0, b"/annex/objects/", "a git-annex pointer; run `git annex get`"),
    (0, b"FMR\0", "a template of minutiae, no image"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"\x7fELF", "a program"),
)
_MARKUP = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<svg", "SVG"))


def seems(data: bytes) -> CaptureRefused | None:
    """The refusal of a file of a known other kind; None where nothing is recognised.

    `unsupported_format` where a program could make an image of it, else `not_an_image`.
    """
    for place, magic, kind in _IMAGES:
        if data.startswith(magic, place):
            return unsupported(kind)
    if data.startswith(b"PK\3\4"):
        return unsupported("ZIP")
    for place, magic, kind in _OTHERS:
        if data.startswith(magic, place):
            return CaptureRefused("not_an_image", f"it seems to be {kind}")
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, kind in _MARKUP:
        if start.startswith(magic) or (start.startswith(b"<?xml") and magic in start):
            return CaptureRefused("not_an_image", f"it seems to be {kind}")
    return None


def unsupported(kind: str) -> CaptureRefused:
    """An image of a format or kind that is not read."""
    return CaptureRefused("unsupported_format", f"{kind}: use one of {', '.join(READ)}")
