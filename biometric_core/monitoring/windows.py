"""What drift tests compare: probes and attempts to acquire, of known people, of some days."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from biometric_core.history.changes import named
from biometric_core.history.drift_table import MEASURES
from biometric_core.schemas import BoolArray, Float32Array, Float64Array, StrArray

REFERENCE = "reference"
CURRENT = "current"
ENROLLED = "enrolled"


@dataclass(frozen=True)
class Labelled:
    """Rows of one modality and sensor, with what permutations by subject need to know of them.

    Attributes:
        subject: str, (N,); the claimed subject.
        identity: str, (N,); the claimed eye or finger of that subject.
        trained_on: bool, (N,); the model was trained on other captures of this subject.
        weight: float64, (N,), above 0; how much a row counts (recent days more than older ones).
    """

    subject: StrArray
    identity: StrArray
    trained_on: BoolArray
    weight: Float64Array

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if len(values) != len(self.subject):
                raise ValueError(f"{field.name} has {len(values)} rows, not {len(self.subject)}")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ValueError(f"{field.name} holds values that are not finite")

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """The rows of a boolean mask or an index, in that order."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Window(Labelled):
    """Probes compared with their claimed identity.

    Attributes:
        residual: float64, (N, D); probe embedding minus the identity's template.
        template: float64, (N, D); the identity's template.
        genuine: float64, (N,); log-likelihood ratio of the comparison with the claimed identity.
        measures: float64, (N, len(MEASURES)); of the capture.
    """

    residual: Float64Array
    template: Float64Array
    genuine: Float64Array
    measures: Float64Array

    @property
    def quality(self) -> Float64Array:
        """Usable share of the capture, (N,), in [0, 1]."""
        return self.measures[:, MEASURES.index("quality")]


@dataclass(frozen=True)
class Acquired(Labelled):
    """Captures that could be acquired, whoever they are of.

    Attributes:
        measures: float64, (N, len(MEASURES)); of the capture.
    """

    measures: Float64Array


@dataclass(frozen=True)
class Attempts(Labelled):
    """Captures, whether or not they could be acquired; or claims, whether or not accepted.

    Attributes:
        failed: float64, (N,); 1 for a failure to acquire, or for a rejected claim, else 0.
    """

    failed: Float64Array


def measures(quality: Float32Array | Float64Array, captures: pa.Table) -> Float64Array:
    """`Window.measures` of N captures.

    Args:
        quality: (N,), usable share, in [0, 1].
        captures: their rows of the `captures` table, in the same order.
    """
    columns = {name: captures[name].to_numpy().astype(np.float64) for name in MEASURES[1:]}
    # Spreads over powers of ten: a difference of logarithms is a ratio.
    columns["sharpness"] = np.log(np.maximum(columns["sharpness"], np.finfo(np.float32).tiny))
    return np.column_stack([np.asarray(quality, dtype=np.float64), *columns.values()])


@dataclass(frozen=True)
class Span:
    """What one sensor delivered in a stretch of time.

    Attributes:
        probes: whose identity is enrolled, and whose claim was accepted.
        attempts: all captures.
        acquired: all that could be acquired; None where the probes are all there is.
        claims: all probes, accepted or not; None where the model decides on none.
    """

    probes: Window
    attempts: Attempts
    acquired: Acquired | None = None
    claims: Attempts | None = None

    @property
    def captured(self) -> Window | Acquired:
        """Captures with their measures."""
        return self.probes if self.acquired is None else self.acquired


@dataclass(frozen=True)
class Group:
    """A day of one modality and sensor, and the reference it is compared with.

    Attributes:
        modality: of the probes.
        sensor: of the day's probes.
        reference: probes of the reference window, and attempts before the model was trained.
        today: probes and attempts of the day.
        recent: those of the recent days and the day, weighted by age; None where the day stands
            alone.
        unidentified: probes of the day with nobody enrolled to compare with; kept apart.
        enrolled_today: probes of the day whose template is of the same day; kept apart as well.
        met: all probes of the day that have a template, whenever it was made; None where those of
            `today` are all.
    """

    modality: str
    sensor: str
    reference: Span
    today: Span
    recent: Span | None = None
    unidentified: int = 0
    enrolled_today: int = 0
    met: Window | None = None

    @property
    def name(self) -> str:
        """For people: modality and sensor."""
        return named((self.modality, self.sensor))


def means(captured: Window | Acquired) -> list[float]:
    """Mean of each of `drift_table.MEASURES`."""
    return [float(value) for value in captured.measures.mean(axis=0)]
