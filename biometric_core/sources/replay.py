"""Any source as a story: a history to train on, and days of new captures to watch.

Files are copied byte for byte, except on the last day where a change of the sensor is simulated
(and said to be). People are numbered; names of the source appear nowhere.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from biometric_core.config import Config, Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.parallel.progress import track
from biometric_core.sources.layouts import GENERATED
from biometric_core.sources.reader import open_source
from biometric_core.sources.replay_plan import Item, Settings, deal_out, read_items
from biometric_core.storage.files import atomic_write

if TYPE_CHECKING:
    from biometric_core.sources.sensor_change import SensorChange

_MANIFEST = "replay.json"
HISTORY = "history"
INBOX = "inbox"


@dataclass(frozen=True)
class ReplayResult:
    """Folders in the flat layout: `history`, and `inbox`/<day> for each of `days`.

    Within them is a folder for each sensor that the source names. A day is `{"day", "captures",
    "new_subjects", "sensor_change"}`; `sensor_change` says what was simulated, None where the files
    are the source's own bytes.
    """

    history: str
    inbox: str
    days: list[dict[str, Any]]


def replay(
    config: Config,
    *,
    source: str,
    out: str,
    first_day: date,
    days: int = 3,
    new_subjects_share: float = 0.12,
    changed_sensor: bool = True,
    seed: int = 0,
) -> ReplayResult:
    """Split a source into `<out>/history` and `<out>/inbox/<day>`; the same again rewrites nothing.

    Some people are held back wholly and come on one day each. Of the others, identities with 4
    impressions or more give 2 (with 3: 1) to the days, at random: the order must not tell history
    from days. Each of two calm days sees half of them, of more a smaller share; the last sees all.

    Args:
        config: limits of `ingest`.
        source: folder or .zip in a known layout.
        out: folder to write; one folder holds one story.
        first_day: the first day of new captures.
        days: how many days.
        new_subjects_share: share of people held back wholly, in [0, 1).
        changed_sensor: simulate another sensor on the last day.
        seed: of every random choice.

    Raises:
        SourceError: the source can't be read or holds no capture, or `out` holds another story.
    """
    change = _sensor_change() if changed_sensor else None
    settings = _settings(first_day, days, new_subjects_share, seed, change)
    items = read_items(Path(source), config.ingest)
    folder = Path(out)
    _claim(folder, items, settings)
    plan = deal_out(items, settings)
    _lay_out(folder, plan, settings, change, config.ingest)
    _mark_where_generated(folder, settings, source, config.ingest)
    told = [_day(plan, settings, day) for day in range(days)]
    return ReplayResult(str(folder / HISTORY), str(folder / INBOX), told)


def _settings(
    first_day: date,
    days: int,
    new_subjects_share: float,
    seed: int,
    change: "SensorChange | None",
) -> Settings:
    if days < 1 or not 0 <= new_subjects_share < 1:
        raise SourceError(
            f"replay needs days >= 1 and new_subjects_share in [0, 1), "
            f"got {days} and {new_subjects_share}"
        )
    differs = _what_differs(change)
    return Settings(first_day.isoformat(), days, new_subjects_share, seed, differs)


def _sensor_change() -> "SensorChange":
    from biometric_core.sources.sensor_change import CHANGED

    return CHANGED


def _what_differs(change: "SensorChange | None") -> dict[str, Any] | None:
    if change is None:
        return None
    same = asdict(type(change)())
    return {name: value for name, value in asdict(change).items() if value != same[name]}


def _date(settings: Settings, day: int) -> str:
    return (date.fromisoformat(settings.first_day) + timedelta(days=day)).isoformat()


def _day_folder(settings: Settings, day: int | None) -> PurePosixPath:
    return PurePosixPath(HISTORY) if day is None else PurePosixPath(INBOX, _date(settings, day))


def _claim(folder: Path, items: list[Item], settings: Settings) -> None:
    """Mark `folder` as holding this story; a folder of another one is refused, never mixed."""
    content = [(item.content, *item.place("").parts) for item in items]
    text = json.dumps({"source": content, "settings": asdict(settings)}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    manifest = folder / _MANIFEST
    if not manifest.exists():
        if any((folder / name).exists() for name in (HISTORY, INBOX)):
            raise SourceError(
                f"{folder} holds captures that replay didn't write: name another folder"
            )
        record = {"digest": digest, "settings": asdict(settings)}
        atomic_write(manifest, json.dumps(record, indent=2).encode())
    elif _digest_of(manifest) != digest:
        raise SourceError(
            f"{folder} holds the replay of another source or with other settings: "
            "name another folder or delete it"
        )


def _digest_of(manifest: Path) -> object:
    try:
        return json.loads(manifest.read_bytes())["digest"]
    except (ValueError, KeyError, TypeError):
        return None


def _lay_out(
    folder: Path,
    plan: list[tuple[Item, int | None]],
    settings: Settings,
    change: "SensorChange | None",
    limits: Ingest,
) -> None:
    """Write every capture where it belongs; those of the last day as the changed sensor's."""
    for item, day in track(plan, total=len(plan), description="laying out the days"):
        last = day == settings.days - 1
        place = folder / _day_folder(settings, day)
        _write(place, item, change if last else None, limits, settings.seed)


def _mark_where_generated(folder: Path, settings: Settings, source: str, limits: Ingest) -> None:
    """Drawn people stay known as such, so that they are nobody of another source."""
    generated = open_source(source, limits).generated
    for day in (None, *range(settings.days)) if generated else ():
        mark = folder / _day_folder(settings, day) / GENERATED
        if not mark.exists():
            atomic_write(mark, b'{"replayed": true}')


def _write(
    folder: Path, item: Item, change: "SensorChange | None", limits: Ingest, seed: int
) -> None:
    verbatim = folder / item.place(item.file.path.suffix.lower())
    changed = folder / item.place(".png")
    # Files appear by rename, so one that is there is whole.
    if verbatim.exists() or (change and changed.exists()):
        return
    data = item.file.read()
    image = _with_change(data, item, change, limits, seed) if change else None
    atomic_write(verbatim if image is None else changed, data if image is None else image)


def _with_change(
    data: bytes, item: Item, change: "SensorChange", limits: Ingest, seed: int
) -> bytes | None:
    """The image as the changed sensor gives it, PNG; None for a file that is no image.

    Such a file is passed on as it is, for ingest to refuse and count.
    """
    import cv2

    from biometric_core.imaging.decoding import decode
    from biometric_core.sources.sensor_change import apply

    try:
        gray = decode(data, limits)
    except CaptureRefused:
        return None
    rng = np.random.default_rng((seed, int(item.content[:16], 16)))
    encoded, png = cv2.imencode(".png", apply(gray, change, rng))
    if not encoded:
        raise SourceError("an image of the changed sensor can't be encoded as PNG")
    return png.tobytes()


def _day(plan: list[tuple[Item, int | None]], settings: Settings, day: int) -> dict[str, Any]:
    people: defaultdict[int | None, set[str]] = defaultdict(set)
    for item, when in plan:
        people[when].add(item.capture.subject)
    changed = settings.sensor_change if day == settings.days - 1 else None
    return {
        "day": _date(settings, day),
        "captures": sum(when == day for _, when in plan),
        "new_subjects": len(people[day] - people[None]),
        "sensor_change": _told(changed) if changed else None,
    }


def _told(change: Mapping[str, Any]) -> str:
    return "simulated: " + ", ".join(f"{name} {value}" for name, value in change.items())
