"""Who comes when: the captures of a source, renumbered and dealt out to a history and days."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.parallel.progress import track
from biometric_core.sources.layouts import SourceCapture, flat_path, identified, is_clutter
from biometric_core.sources.reader import SourceFile, iter_files
from biometric_core.sources.sensor_folders import sensor_folder, sensor_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One capture of the source, renumbered: subject by sorted order, impression by rank."""

    file: SourceFile
    content: str  # SHA-256, hex
    capture: SourceCapture

    def place(self, suffix: str) -> PurePosixPath:
        """Its path in a folder of the story: flat, within its sensor's folder if it has one."""
        return sensor_folder(sensor_of(self.file.path)) / flat_path(self.capture, suffix)


@dataclass(frozen=True)
class Settings:
    """What decides the story besides the source's content."""

    first_day: str
    days: int
    new_subjects_share: float
    seed: int
    sensor_change: dict[str, Any] | None


def read_items(source: Path, limits: Ingest) -> list[Item]:
    """Every distinct capture of the source, renumbered; copies of an image are taken once."""
    found: dict[str, tuple[SourceFile, SourceCapture]] = {}
    left_out: Counter[str] = Counter()
    for file in track(iter_files(source, limits), total=None, description="reading the source"):
        if is_clutter(file.path):
            continue
        try:
            capture, content = _read(file)
        except CaptureRefused as refusal:
            left_out[refusal.reason] += 1
            continue
        left_out["duplicate"] += content in found
        found.setdefault(content, (file, capture))
    if +left_out:
        _log.warning("left out of the replay: %s", dict(+left_out))
    if not found:
        raise SourceError(f"source {source} holds no capture in a known layout; see the README")
    return _renumbered(found)


def _read(file: SourceFile) -> tuple[SourceCapture, str]:
    """Whose capture it is, and its content; CaptureRefused where that can't be told."""
    capture = identified(file.path)
    if file.refusal is not None:
        raise file.refusal
    if capture is None:
        raise CaptureRefused("unknown_layout", "the path names no subject and position")
    sensor_of(file.path)
    return capture, hashlib.sha256(file.read()).hexdigest()


def _renumbered(found: Mapping[str, tuple[SourceFile, SourceCapture]]) -> list[Item]:
    names = sorted({capture.subject for _, capture in found.values()}, key=_natural)
    numbers = {name: f"{number:03d}" for number, name in enumerate(names, start=1)}
    order = sorted(
        found, key=lambda content: (found[content][1].impression, found[content][0].path.parts)
    )
    ranks: Counter[tuple[str, str, str]] = Counter()
    items = []
    for content in order:
        file, capture = found[content]
        identity = (capture.subject, capture.modality.value, capture.position)
        ranks[identity] += 1
        renumbered = replace(
            capture, subject=numbers[capture.subject], impression=ranks[identity], sex=None
        )
        items.append(Item(file, content, renumbered))
    return sorted(items, key=lambda item: flat_path(item.capture, "").parts)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key with numbers by value: "2" before "10"; the name itself tells "1" from "01"."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], name


def deal_out(items: list[Item], settings: Settings) -> list[tuple[Item, int | None]]:
    """Each item with the index of its day, None for the history."""
    rng = np.random.default_rng(settings.seed)
    subjects = sorted({item.capture.subject for item in items})
    order = [subjects[i] for i in rng.permutation(len(subjects))]
    held_back = min(round(settings.new_subjects_share * len(subjects)), len(subjects) // 2)
    new = {subject: i % settings.days for i, subject in enumerate(order[:held_back])}
    known = {subject: i for i, subject in enumerate(order[held_back:])}
    sizes = Counter(_identity(item) for item in items)
    plan: list[tuple[Item, int | None]] = []
    for item in items:
        capture = item.capture
        if capture.subject in new:
            plan.append((item, new[capture.subject]))
            continue
        days = _visit_days(known[capture.subject], sizes[_identity(item)], settings)
        plan.append((item, days.get(capture.impression - 1)))
    return plan


def _identity(item: Item) -> tuple[str, str, str]:
    return item.capture.subject, item.capture.modality.value, item.capture.position


def _visit_days(turn: int, impressions: int, settings: Settings) -> dict[int, int]:
    """Which of a known identity's impressions (from 0) come on which day; the others are history.

    All identities of a subject with equally many impressions share the draw: a visit brings both
    eyes.
    """
    last = settings.days - 1
    groups = max(last, 2)
    calm = turn % groups
    days = [last, calm if calm < last else last]
    held = days[: min(max(impressions - 2, 0), 2)]
    rng = np.random.default_rng((settings.seed, turn, impressions))
    drawn = rng.permutation(impressions)[: len(held)]
    return {int(impression): day for impression, day in zip(drawn, held, strict=True)}
