"""What can be compared: the captures of a modality, or the visits of subjects (fused).

Fused comparisons are between *visits*: a subject's captures of the same impression number. Two
visits are compared position by position (left eye with left eye), and the calibrated
log-likelihood ratios of the positions present in both are summed: a missing modality contributes
nothing and is never imputed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.dataset import CaptureSet
from biometric_core.iris.phase_code import PhaseCodes, distances
from biometric_core.schemas import Float32Array, Modality

StrArray = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]
Fuse = Callable[[Mapping[Modality, Float32Array], BoolArray], Float32Array]


@dataclass(frozen=True)
class Channel:
    """One stream of embeddings over the items; a fused comparison has one for each position.

    Attributes:
        embeddings: float32, (N, D), unit length; rows of absent items are not looked at.
        present: bool, (N,).
        weight: score = weight * cosine + bias.
        bias: see weight.
    """

    embeddings: Float32Array
    present: BoolArray
    weight: float = 1.0
    bias: float = 0.0

    def scores(self, start: int, stop: int) -> Float32Array:
        """Items [start, stop) against all, float32 (B, N)."""
        cosine = self.embeddings[start:stop] @ self.embeddings.T
        return np.asarray(self.weight * cosine + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class CodeChannel:
    """Phase codes of irises, a second encoder beside the embeddings.

    Attributes:
        codes: of N items; rows of absent items are not looked at.
        present: bool, (N,).
        weight: score = weight * (0.5 - masked Hamming distance) + bias.
        bias: see weight.
    """

    codes: PhaseCodes
    present: BoolArray
    weight: float = 1.0
    bias: float = 0.0

    def scores(self, start: int, stop: int) -> Float32Array:
        """Items [start, stop) against all, float32 (B, N)."""
        distance = distances(PhaseCodes(self.codes.signs[start:stop]), self.codes)
        return np.asarray(self.weight * (0.5 - distance) + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class Coded:
    """Phase codes of the captures of a modality, and what turns similarity into an LLR."""

    codes: PhaseCodes
    weight: float = 1.0
    bias: float = 0.0

    def channel(self, rows: IndexArray) -> CodeChannel:
        """The codes of these rows as a channel; -1 stands for an absent item."""
        return CodeChannel(PhaseCodes(self.codes.signs[rows]), rows >= 0, self.weight, self.bias)


@dataclass(frozen=True)
class Gallery:
    """Items that can be compared with each other.

    Attributes:
        items: str, (N,), the id of each item.
        subjects: str, (N,).
        labels: str, (N,), what makes a pair mated: the identity, or the subject where fused.
        channels: embeddings and codes; scores of channels are summed.
        average: divide the sum by the number of channels present in both items.
    """

    items: StrArray
    subjects: StrArray
    labels: StrArray
    channels: tuple[Channel | CodeChannel, ...]
    average: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def scores(self, start: int, stop: int) -> Float32Array:
        """Items [start, stop) against all, float32 (B, N); NaN where nothing is common to both."""
        total = np.zeros((stop - start, len(self)), dtype=np.float32)
        common = np.zeros(total.shape, dtype=np.int32)
        for channel in self.channels:
            both = channel.present[start:stop, None] & channel.present[None, :]
            total += np.where(both, channel.scores(start, stop), np.float32(0))
            common += both
        if self.average:
            total /= np.maximum(common, 1)
        total[common == 0] = np.nan
        return total


def modality_gallery(
    captures: CaptureSet,
    embeddings: Float32Array,
    weight: float = 1.0,
    bias: float = 0.0,
    coded: Coded | None = None,
) -> Gallery:
    """The captures of one modality as items; a pair is mated where the identity is the same.

    Args:
        captures: N captures.
        embeddings: float32, (N, D), unit length.
        weight: calibration, score = weight * cosine + bias.
        bias: see weight.
        coded: phase codes of the same captures, whose scores are added.

    Raises:
        ValueError: embeddings don't fit the captures or are not finite.
    """
    _check_embeddings(embeddings, len(captures))
    channel = Channel(embeddings, np.ones(len(captures), dtype=np.bool_), weight, bias)
    codes = (coded.channel(np.arange(len(captures))),) if coded else ()
    return Gallery(captures.capture_id, captures.subject_id, captures.identity, (channel, *codes))


def code_gallery(captures: CaptureSet, coded: Coded) -> Gallery:
    """The captures of one modality as items, compared by their phase codes alone."""
    channel = coded.channel(np.arange(len(captures)))
    return Gallery(captures.capture_id, captures.subject_id, captures.identity, (channel,))


def _check_embeddings(embeddings: Float32Array, expected: int) -> None:
    if embeddings.ndim != 2 or len(embeddings) != expected:
        raise ValueError(f"embeddings {embeddings.shape} do not fit {expected} captures")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold values that are not finite: the model is damaged")


@dataclass(frozen=True)
class Visits:
    """Captures grouped into visits: (subject, impression).

    Attributes:
        items: str, (V,), `subject#impression`.
        subjects: str, (V,).
        rows: for each (modality, position) the capture's row of each visit, int64 (V,); -1 where
            the visit has none.
    """

    items: StrArray
    subjects: StrArray
    rows: Mapping[tuple[Modality, str], IndexArray]


def visits(sets: Mapping[Modality, CaptureSet]) -> Visits:
    """Group captures by subject and impression number, over modalities and positions.

    Where an impression of a position was captured twice, the first capture id counts.
    """
    keys: dict[tuple[str, int], int] = {}
    for captures in sets.values():
        for key in zip(captures.subject_id.tolist(), captures.impression.tolist(), strict=True):
            keys.setdefault(key, 0)
    ordered = sorted(keys)
    index = {key: number for number, key in enumerate(ordered)}
    rows: dict[tuple[Modality, str], IndexArray] = {}
    for modality, captures in sorted(sets.items()):
        for row in range(len(captures) - 1, -1, -1):  # backwards: the first capture wins
            key = (str(captures.subject_id[row]), int(captures.impression[row]))
            channel = (modality, str(captures.position[row]))
            if channel not in rows:
                rows[channel] = np.full(len(ordered), -1, dtype=np.int64)
            rows[channel][index[key]] = row
    return Visits(
        items=np.array([f"{subject}#{impression}" for subject, impression in ordered], dtype=str),
        subjects=np.array([subject for subject, _ in ordered], dtype=str),
        rows=dict(sorted(rows.items())),
    )


def fused_gallery(
    sets: Mapping[Modality, CaptureSet],
    embeddings: Mapping[Modality, Float32Array],
    calibration: Mapping[Modality, tuple[float, float]],
    coded: Mapping[Modality, Coded] | None = None,
) -> Gallery:
    """Visits as items; the score is the sum of log-likelihood ratios over common positions.

    Args:
        sets: captures of each modality that takes part.
        embeddings: float32 (N, D) for each modality.
        calibration: (weight, bias) for each modality.
        coded: phase codes, for modalities that have them; their ratios are added.
    """
    grouped = visits(sets)
    channels: list[Channel | CodeChannel] = []
    for (modality, _), rows in grouped.rows.items():
        _check_embeddings(embeddings[modality], len(sets[modality]))
        weight, bias = calibration[modality]
        channels.append(Channel(embeddings[modality][rows], rows >= 0, weight, bias))
        if coded and modality in coded:
            channels.append(coded[modality].channel(rows))
    return Gallery(grouped.items, grouped.subjects, grouped.subjects, tuple(channels))


def feature_gallery(
    sets: Mapping[Modality, CaptureSet], embeddings: Mapping[Modality, Float32Array], fuse: Fuse
) -> Gallery:
    """Visits as items, compared by the model's feature-level fusion instead of by scores.

    Each pair of an iris position and a finger position is fused to one vector; where a modality is
    missing from the data or from a visit, the other stands alone. The score is the mean cosine of
    the vectors that both visits have.

    Args:
        sets: captures of each modality that takes part.
        embeddings: float32 (N, D) for each modality.
        fuse: `Recogniser.fuse`.
    """
    grouped = visits(sets)
    absent = np.full(len(grouped.items), -1, dtype=np.int64)
    places = {
        modality: [rows for (m, _), rows in grouped.rows.items() if m is modality] or [absent]
        for modality in (Modality.IRIS, Modality.FINGERPRINT)
    }
    channels = []
    for iris in places[Modality.IRIS]:
        for finger in places[Modality.FINGERPRINT]:
            rows = {Modality.IRIS: iris, Modality.FINGERPRINT: finger}
            channels.append(_fused_channel(rows, embeddings, fuse))
    return Gallery(grouped.items, grouped.subjects, grouped.subjects, tuple(channels), average=True)


def _fused_channel(
    rows: Mapping[Modality, IndexArray], embeddings: Mapping[Modality, Float32Array], fuse: Fuse
) -> Channel:
    present = np.stack([found >= 0 for found in rows.values()], axis=1)
    known: BoolArray = np.any(present, axis=1)
    vectors = {m: embeddings[m][found[known]] for m, found in rows.items() if m in embeddings}
    fused = fuse(vectors, present[known])
    whole = np.zeros((len(known), fused.shape[1]), dtype=np.float32)
    whole[known] = fused
    return Channel(whole, known)
