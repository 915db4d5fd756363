"""The day's worst probes as pictures: only where the configuration allows personal data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import cv2
import numpy as np
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.monitoring.windows import CURRENT, Group
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store
from biometric_core.tracking import registry

_EACH = 4


@dataclass(frozen=True)
class Example:
    """A prepared capture; nobody and no file is named.

    Attributes:
        group: its modality and sensor.
        score: of the comparison with the claimed identity.
        quality: in [0, 1].
        png: the image; what the mask leaves out is dark.
    """

    group: str
    score: float
    quality: float
    png: bytes


def worst_probes(
    store: Store, config: Config, day: date, version: str, groups: Sequence[Group]
) -> list[Example]:
    """The probes of lowest genuine score of each group; none unless `example_images` is set.

    Args:
        store: where probes and prepared captures are.
        config: `monitoring.example_images`, and the registry.
        day: of the probes.
        version: of the model that scored them.
        groups: which modalities and sensors.
    """
    if not config.monitoring.example_images:
        return []
    of_day = (pc.field("window") == CURRENT) & (pc.field("day") == day)
    of_day &= (pc.field("model_version") == version) & pc.field("genuine_score").is_valid()
    columns = ["capture_id", "modality", "sensor", "genuine_score", "quality"]
    probes = store.read("probes", columns, filter=of_day).sort_by("genuine_score")
    prepared_by = registry.prepared_by(config, registry.require(config, version))
    sets = load_captures(store, config, prepared_by=prepared_by)
    examples = []
    for group in groups:
        own = pc.equal(probes["modality"], group.modality)
        own = pc.and_(own, pc.equal(probes["sensor"], group.sensor))
        for probe in probes.filter(own).slice(0, _EACH).to_pylist():
            captures = sets[Modality(group.modality)]
            (row,) = np.flatnonzero(captures.capture_id == probe["capture_id"])
            image, mask = captures.images[row], captures.masks[row]
            shown = np.where(mask > 0, image, image // 4).astype(np.uint8)
            png = cv2.imencode(".png", shown)[1].tobytes()
            examples.append(Example(group.name, probe["genuine_score"], probe["quality"], png))
    return examples
