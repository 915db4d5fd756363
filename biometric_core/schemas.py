"""Records that pass between stages, and the schemas of the Delta tables.

Terms follow ISO/IEC 2382-37: a *capture* is one image as it came from a sensor, an *identity* is
one eye or one finger of one subject, a *probe* is a capture compared with the enrolled references.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]
UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


class Modality(StrEnum):
    """A biometric characteristic this system recognises."""

    IRIS = "iris"
    FINGERPRINT = "fingerprint"


class Split(StrEnum):
    """What a subject is used for, for ever: subjects never move between splits."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


EYES = ("left", "right")
UNKNOWN_FINGER = "unknown"  # finger position 0 of ISO/IEC 19794-2
FINGERS = (
    *(
        f"{hand}_{finger}"
        for hand in ("left", "right")
        for finger in ("thumb", "index", "middle", "ring", "little")
    ),
    UNKNOWN_FINGER,
)
POSITIONS: Mapping[Modality, tuple[str, ...]] = {Modality.IRIS: EYES, Modality.FINGERPRINT: FINGERS}


def identity_of(subject_id: str, modality: str, position: str) -> str:
    """The identity (one eye, one finger) that a capture belongs to."""
    return f"{subject_id}/{modality}/{position}"


@dataclass(frozen=True)
class Sample:
    """A prepared capture: fixed-size image and mask.

    Attributes:
        image: uint8, (H, W); for the iris the rubber sheet, rows from pupil to limbus.
        mask: uint8, (H, W), 255 where the image is usable and 0 elsewhere.
        quality: measures by name, each finite; higher is better and [0, 1] where stated.
    """

    image: UInt8Array
    mask: UInt8Array
    quality: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in (("image", self.image), ("mask", self.mask)):
            if array.dtype != np.uint8 or array.ndim != 2:
                raise ValueError(f"{name} must be uint8 (H, W), got {array.dtype} {array.shape}")
        if self.image.shape != self.mask.shape:
            raise ValueError(f"image {self.image.shape} and mask {self.mask.shape} differ in shape")


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in fields.items()])


_TIME = pa.timestamp("us", tz="UTC")

TABLES: Mapping[str, pa.Schema] = {
    "captures": _schema(
        capture_id=pa.string(),  # SHA-256 of the file's bytes, hex
        subject_id=pa.string(),  # keyed hash of the source's subject
        modality=pa.string(),
        position=pa.string(),  # left / right eye, hand_finger or unknown
        impression=pa.int32(),
        sensor=pa.string(),
        captured_at=_TIME,
        source=pa.string(),  # kind of source, never a name or path
        uri=pa.string(),  # relative to the storage root
        width=pa.int32(),
        height=pa.int32(),
        sharpness=pa.float32(),
        contrast=pa.float32(),
        brightness=pa.float32(),
        split=pa.string(),
        sex=pa.string(),  # M | F as the source states it, null where it doesn't
        namespace=pa.string(),  # of the subject's name; null in older rows: it was `default`
        origin=pa.string(),  # keyed hash of the source's path or URL; null in older rows
    ),
    "pixel_digests": _schema(
        capture_id=pa.string(),
        digest=pa.string(),  # of the gray pixels, whatever the file's format; null: unreadable
    ),
    "quarantine": _schema(
        file_id=pa.string(),  # SHA-256 of bytes and name: names may hold personal data
        reason=pa.string(),
        detail=pa.string(),
        modality=pa.string(),
        source=pa.string(),
        captured_at=_TIME,
        bytes=pa.int64(),
    ),
    "features": _schema(
        capture_id=pa.string(),
        preprocess_version=pa.string(),
        modality=pa.string(),
        height=pa.int32(),
        width=pa.int32(),
        image=pa.binary(),  # uint8 pixels, row by row; empty on a failure to acquire
        mask=pa.binary(),
        quality=pa.float32(),  # one number in [0, 1]; 0 on a failure to acquire
        failure=pa.string(),  # null, or the failure to acquire's reason code
    ),
    "probes": _schema(
        capture_id=pa.string(),
        model_version=pa.string(),
        window=pa.string(),  # reference | current | enrolled (embedding only)
        day=pa.date32(),
        subject_id=pa.string(),
        modality=pa.string(),
        position=pa.string(),
        sensor=pa.string(),
        embedding=pa.list_(pa.float32()),
        residual=pa.list_(pa.float32()),  # probe - template; null where nobody is enrolled
        genuine_score=pa.float32(),  # log-likelihood ratio by all encoders
        top_impostor_score=pa.float32(),  # by the embedding alone
        quality=pa.float32(),
        trained_on=pa.bool_(),  # the model was trained on other captures of this subject
        threshold=pa.float64(),  # of the claim: rejected below it; null in older rows
    ),
    "drift": _schema(
        day=pa.date32(),
        model_version=pa.string(),
        modality=pa.string(),
        sensor=pa.string(),
        statistic=pa.string(),
        value=pa.float64(),
        p_value=pa.float64(),  # corrected
        threshold=pa.float64(),
        subjects=pa.int32(),
        verdict=pa.string(),  # a `drift_table.Outcome`
        report=pa.string(),
        raw_p_value=pa.float64(),  # before the correction; null where nothing was tested
        captures_digest=pa.string(),  # of the watched captures it was judged by; null in older rows
        judged_at=_TIME,
        revision=pa.int32(),  # counts the verdicts on the day; null in older rows: the first
        run_day=pa.date32(),  # whose run judged it, a later day's where captures came late
    ),
    "decisions": _schema(
        decision_id=pa.string(),
        decided_at=_TIME,
        decision=pa.string(),  # promoted | rejected | rolled_back
        reason=pa.string(),
        trigger=pa.string(),  # training | drift | manual
        drift_day=pa.date32(),
        champion_version=pa.string(),  # before the decision; null when there was none
        challenger_version=pa.string(),
        numbers=pa.string(),  # JSON: every figure the gate looked at
        drift_until=pa.date32(),  # the last day of the drift that is answered; drift_day its first
    ),
}

KEYS: Mapping[str, tuple[str, ...]] = {
    "captures": ("capture_id",),
    "pixel_digests": ("capture_id",),
    "quarantine": ("file_id",),
    "features": ("capture_id", "preprocess_version"),
    "probes": ("capture_id", "model_version", "window"),
    "drift": ("day", "model_version", "modality", "sensor", "statistic", "revision"),
    "decisions": ("decision_id",),
}


def utc(moment: datetime) -> datetime:
    """The time in UTC; it is UTC where no zone is named."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def start_of(day: date) -> datetime:
    """Midnight, UTC, that the day begins with."""
    return datetime.combine(day, time(), tzinfo=UTC)
