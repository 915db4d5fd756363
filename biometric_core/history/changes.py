"""What a drift has changed: which sensors, from which day on."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.schemas import BoolArray, StrArray

Sensor = tuple[str, str]
"""Modality and sensor."""


def named(sensor: Sensor) -> str:
    """Modality and sensor, for people."""
    return f"{sensor[0]}, sensor {sensor[1]}"


@dataclass(frozen=True)
class Change:
    """Sensors that deliver something else from a day on.

    Attributes:
        day: the first one.
        sensors: modality and sensor of each that changed; all when empty.
    """

    day: date
    sensors: Collection[Sensor] = frozenset()

    @classmethod
    def of(cls, day: date, sensors: Iterable[Iterable[str]] = ()) -> "Change":
        """From what JSON holds: a list of lists."""
        return cls(day, frozenset((modality, sensor) for modality, sensor in sensors))

    def changed(self, captures: CaptureSet) -> BoolArray:
        """Which captures a changed sensor took, bool (N,)."""
        later: BoolArray = captures.captured_at >= np.datetime64(self.day)
        return later & self.concerns(captures.modality.value, captures.sensor)

    def concerns(self, modality: str | StrArray, sensor: StrArray) -> BoolArray:
        """Which captures are of these sensors, whenever they were taken, bool (N,).

        Args:
            modality: of all captures, or (N,).
            sensor: (N,).
        """
        found = np.full(len(sensor), not self.sensors)
        for one, name in self.sensors:
            found |= (np.asarray(modality) == one) & (sensor == name)
        return found


def outdated(
    changes: Iterable[Change],
    modality: str | StrArray,
    sensor: StrArray,
    captured_at: npt.NDArray[np.datetime64],
) -> BoolArray:
    """Which captures were taken before their sensor changed, bool (N,).

    Args:
        changes: of sensors, in any order.
        modality: of all captures, or (N,).
        sensor: (N,).
        captured_at: (N,), UTC.
    """
    found = np.zeros(len(sensor), dtype=np.bool_)
    for one in changes:
        found |= (captured_at < np.datetime64(one.day)) & one.concerns(modality, sensor)
    return found


def renewed(
    among: BoolArray, old: BoolArray, sensor: StrArray, subject: StrArray, enough: int
) -> BoolArray:
    """Rows without the old ones, save of sensors that too few subjects would be left of, bool (N,).

    Args:
        among: bool (N,); the rows in question.
        old: bool (N,); those taken before their sensor changed.
        sensor: (N,); modality and sensor, where rows of several modalities are mixed.
        subject: (N,).
        enough: subjects that a sensor's renewed rows must be of; with fewer it keeps all.
    """
    found = among & ~old
    for name in np.unique(sensor[among & old]):
        own = sensor == name
        if len(np.unique(subject[found & own])) < enough:
            found |= among & own
    return found
