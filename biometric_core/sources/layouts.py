"""Which capture a path names: the layout of the Kaggle data set, of FVC, and the flat layout.

Kaggle: `<subject>/{left,right}/<name><l|r><n>.bmp` and
`<subject>/Fingerprint/<subject>__<M|F>_<Left|Right>_<finger>_finger.BMP`.
Flat: `iris/001_L_01.bmp`, `fingerprint/001_L_thumb_01.BMP` and, where nobody knows which finger it
is, `fingerprint/001_unknown_01.BMP`.
FVC (Fingerprint Verification Competition): `<finger>_<impression>.tif`, both numbers. Which fingers
are one person's is not told: each is a subject of its own.

Only the END of a path is matched, part by part. Names further up say nothing about the modality:
the Kaggle set's own root is called "IRIS and FINGERPRINT DATASET". A folder that names a sensor
(`sensor=door-3`) may stand anywhere, and counts as not there. Names count in their normal form
(`sources.names`).
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from biometric_core.errors import CaptureRefused
from biometric_core.schemas import EYES, UNKNOWN_FINGER, Modality
from biometric_core.sources.names import normal, require_certain
from biometric_core.sources.sensor_folders import without_sensor

IMAGE_SUFFIXES = (
    *(".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".wsq"),
)
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
GENERATED = ".generator.json"  # the generator leaves it in the folder that holds its people
_CLUTTER_NAMES = frozenset({"desktop.ini", "thumbs.db", "ehthumbs.db", "__macosx"})
_KAGGLE_FINGERPRINT_FOLDER = "fingerprint"
_NOT_A_SUBJECT = frozenset({*Modality, *EYES})
_FINGER = "thumb|index|middle|ring|little"
_FLAT_IRIS = re.compile(r"(?P<subject>.+)_(?P<side>L|R)_(?P<impression>\d{1,6})", re.I)
_FLAT_FINGERPRINT = re.compile(
    rf"(?P<subject>.+)_(?P<side>L|R)_(?P<finger>{_FINGER})_(?P<impression>\d{{1,6}})", re.I
)
_FLAT_UNKNOWN = re.compile(rf"(?P<subject>.+)_{UNKNOWN_FINGER}_(?P<impression>\d{{1,6}})", re.I)
_FVC = re.compile(r"(?P<subject>[0-9]{1,6})_(?P<impression>[0-9]{1,6})")
# SOCOFing's altered images end in _CR, _Obl or _Zcut: they are no captures and must not match.
_KAGGLE_FINGERPRINT = re.compile(
    rf".+__(?P<sex>[MF])_(?P<side>L|R)(?:eft|ight)_(?P<finger>{_FINGER})_finger", re.I
)
_TRAILING_NUMBER = re.compile(r"\d{1,6}$")


@dataclass(frozen=True)
class SourceCapture:
    """What a source says about one capture.

    Attributes:
        subject: as the source names it, personal data: never for a log, table or report.
        modality: iris or fingerprint.
        position: one of `schemas.POSITIONS[modality]`.
        impression: 1 where the source numbers no impressions.
        sex: "M", "F" or None where the source doesn't say.
    """

    subject: str
    modality: Modality
    position: str
    impression: int
    sex: str | None = None


def parse(path: PurePosixPath) -> SourceCapture | None:
    """The capture that `path`, relative to a source, names; None when it names none.

    Example:
        >>> parse(PurePosixPath("any/root/iris/001_L_02.bmp")).position
        'left'
    """
    found = _match(normal(path))
    return found[0] if found else None


def identified(path: PurePosixPath) -> SourceCapture | None:
    """As `parse`, for whoever needs to know whose capture it is.

    Raises:
        CaptureRefused: `nested_archive`; `bad_name`.
    """
    if path.suffix.lower() in _ARCHIVE_SUFFIXES:
        raise nested_archive()
    found = parse(path)
    if found is not None:
        require_certain(found.subject)
    return found


def nested_archive() -> CaptureRefused:
    """The refusal of an archive within a source, which is never looked into."""
    detail = "an archive within the source: unpack it, or give it by itself"
    return CaptureRefused("nested_archive", detail)


def subject_as_written(path: PurePosixPath) -> str | None:
    """The subject that `path` names, not brought to the normal form; None when it names none."""
    found = _match(path)
    return found[0].subject if found else None


def layout(path: PurePosixPath) -> str | None:
    """`kaggle`, `flat` or `fvc`, whichever the path of a capture follows; None of no capture."""
    found = _match(normal(path))
    return found[2] if found else None


def data_root(path: PurePosixPath) -> PurePosixPath | None:
    """The folder that the layout of a capture's path starts in; None when it names no capture.

    All sensors of a data set share it: it is told without the folders that name them.
    """
    path = normal(path)
    found = _match(path)
    return PurePosixPath(*without_sensor(path).parts[: -found[1]]) if found else None


def is_clutter(path: PurePosixPath) -> bool:
    """Whether `path` is what desktops leave behind: no capture, and no sign of bad data."""
    if path.is_absolute() or ".." in path.parts:
        return False
    return any(part.startswith(".") or part.lower() in _CLUTTER_NAMES for part in path.parts)


def flat_path(capture: SourceCapture, suffix: str) -> PurePosixPath:
    """Where the flat layout keeps `capture`; `suffix` like ".png". The inverse of `parse`."""
    side, _, finger = capture.position.partition("_")
    place = [side] if side == UNKNOWN_FINGER else [side[0].upper(), *([finger] if finger else [])]
    name = "_".join([capture.subject, *place, f"{capture.impression:02d}"])
    return PurePosixPath(capture.modality.value, name + suffix)


def _match(path: PurePosixPath) -> tuple[SourceCapture, int, str] | None:
    """The capture, how many parts at the end of the path its layout takes, and the layout."""
    if path.suffix.lower() not in IMAGE_SUFFIXES or is_clutter(path):
        return None
    path = without_sensor(path)
    folder, stem = path.parent.name.lower(), path.stem
    flat = _flat(folder, stem)
    if flat:
        return flat, 2, "flat"
    kaggle = _kaggle(path.parts[-3], folder, stem) if len(path.parts) > 2 else None
    if kaggle:
        return kaggle, 3, "kaggle"
    fvc = _fvc(folder, stem)
    return (fvc, 1, "fvc") if fvc else None


def _flat(folder: str, stem: str) -> SourceCapture | None:
    if folder == Modality.IRIS:
        found = _FLAT_IRIS.fullmatch(stem)
        return found and SourceCapture(
            found["subject"], Modality.IRIS, _side(found), int(found["impression"])
        )
    if folder == Modality.FINGERPRINT:
        unknown = _FLAT_UNKNOWN.fullmatch(stem)
        if unknown:
            return _of_unknown_finger(unknown)
        found = _FLAT_FINGERPRINT.fullmatch(stem)
        return found and SourceCapture(
            found["subject"], Modality.FINGERPRINT, _finger(found), int(found["impression"])
        )
    return None


def _fvc(folder: str, stem: str) -> SourceCapture | None:
    found = None if folder in (Modality.IRIS, *EYES) else _FVC.fullmatch(stem)
    return found and _of_unknown_finger(found)


def _of_unknown_finger(found: re.Match[str]) -> SourceCapture:
    return SourceCapture(
        found["subject"], Modality.FINGERPRINT, UNKNOWN_FINGER, int(found["impression"])
    )


def _kaggle(subject: str, folder: str, stem: str) -> SourceCapture | None:
    if subject.lower() in _NOT_A_SUBJECT or subject in ("/", ".."):
        return None
    if folder in EYES:
        # The folder tells the eye: one true name of the set lacks its l/r ("..._1.bmp").
        number = _TRAILING_NUMBER.search(stem)
        return SourceCapture(subject, Modality.IRIS, folder, int(number[0]) if number else 1)
    if folder != _KAGGLE_FINGERPRINT_FOLDER:
        return None
    found = _KAGGLE_FINGERPRINT.fullmatch(stem)
    return found and SourceCapture(
        subject, Modality.FINGERPRINT, _finger(found), 1, found["sex"].upper()
    )


def _side(found: re.Match[str]) -> str:
    return EYES[0] if found["side"].upper() == "L" else EYES[1]


def _finger(found: re.Match[str]) -> str:
    return f"{_side(found)}_{found['finger'].lower()}"
