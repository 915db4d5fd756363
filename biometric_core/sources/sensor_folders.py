"""Which sensor a path of a source names: a folder `sensor=door-3/` at any depth, in any layout."""

import re
from pathlib import Path, PurePosixPath

from biometric_core.config import Source
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.storage.files import is_remote

_KEY = "sensor="
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALLOWED = "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', a letter or digit first"


def is_sensor_folder(name: str) -> bool:
    """Whether a folder of this name means to say which sensor took what lies under it."""
    return name[: len(_KEY)].lower() == _KEY


def without_sensor(path: PurePosixPath) -> PurePosixPath:
    """The path as it would be without folders that name a sensor."""
    *folders, name = path.parts or ("",)
    if not any(map(is_sensor_folder, folders)):
        return path
    return PurePosixPath(*(part for part in folders if not is_sensor_folder(part)), name)


def sensor_of(path: PurePosixPath) -> str | None:
    """The sensor that took the file; None where no folder says.

    Raises:
        CaptureRefused: `bad_sensor_name`; `several_sensors`. No name is told: it may be a person's.
    """
    names = [part[len(_KEY) :] for part in path.parts[:-1] if is_sensor_folder(part)]
    if not names:
        return None
    if len(names) > 1:
        raise CaptureRefused("several_sensors", "a folder sensor=NAME within another one")
    if not _NAME.fullmatch(names[0]):
        raise CaptureRefused("bad_sensor_name", f"the NAME of a folder sensor=NAME is {_ALLOWED}")
    return names[0]


def sensor_named_by(source: str) -> str | None:
    """The sensor whose folder the source itself is: what lies in it doesn't name one any more.

    Raises:
        SourceError: the folder's name is no sensor's.
    """
    folder = PurePosixPath(source) if is_remote(source) else Path(source).resolve()
    try:
        return sensor_of(PurePosixPath(folder.name, "any"))
    except CaptureRefused as refusal:
        raise SourceError(f"the source can't tell its sensor: {refusal.detail}") from None


def bits_of(path: PurePosixPath, source: Source) -> int | None:
    """Significant bits of 16 of the sensor that took the file, as configured; None if unknown."""
    try:
        return sensor_bits(source, sensor_of(path))
    except CaptureRefused:  # whoever needs the sensor's name refuses the file
        return sensor_bits(source, None)


def sensor_bits(source: Source, sensor: str | None) -> int | None:
    """Significant bits in files of 16 of a sensor, of `source.sensor` when None."""
    if isinstance(source.bits, dict):
        return source.bits.get(sensor or source.sensor)
    return source.bits


def sensor_folder(sensor: str | None) -> PurePosixPath:
    """The folder for what a sensor took; the one without a name when None."""
    return PurePosixPath(f"{_KEY}{sensor}" if sensor else "")
