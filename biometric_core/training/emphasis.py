"""After a drift, new captures count more, or less, in training than older ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.history.changes import Change
from biometric_core.schemas import Modality

_SINCE, _SENSORS, _WEIGHT = "new_since", "new_sensors", "new_weight"


@dataclass(frozen=True)
class Emphasis:
    """Captures of changed sensors are seen `weight` times as often as all others."""

    change: Change
    weight: float

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self | None:
        """What the tags of a training run say; None where all captures counted alike."""
        if _SINCE not in tags:
            return None
        sensors = json.loads(tags.get(_SENSORS, "[]"))  # without one, all of them
        change = Change.of(date.fromisoformat(tags[_SINCE]), sensors)
        return cls(change, float(tags[_WEIGHT]))

    def tags(self) -> dict[str, str]:
        """As tags of a training run."""
        found = {_SINCE: self.change.day.isoformat(), _WEIGHT: repr(self.weight)}
        sensors = sorted(self.change.sensors)
        return found | ({_SENSORS: json.dumps(sensors)} if sensors else {})

    def applied(self, sets: Mapping[Modality, CaptureSet], seed: int) -> dict[Modality, CaptureSet]:
        """The same captures, some of them several times, so that an epoch sees them more often.

        None is lost: below 1 the others are repeated instead. A broken weight is met on average, by
        a draw for each capture.

        Args:
            sets: captures by modality.
            seed: of the draws; the same captures and seed give the same rows.
        """
        found = {}
        for modality, captures in sets.items():
            new = self.change.changed(captures)
            times = np.where(new, max(1.0, self.weight), max(1.0, 1 / self.weight))
            rng = np.random.default_rng((seed, list(Modality).index(modality)))
            counts = np.floor(times + rng.random(len(captures))).astype(np.int64)
            found[modality] = captures.select(np.repeat(np.arange(len(captures)), counts))
        return found
