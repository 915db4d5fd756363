"""What can be compared: the captures of a modality, or the visits of subjects (fused).

Fused comparisons are between *visits*: a subject's captures of one day (UTC) and impression number.
Numbers may begin anew each day, and no visit mixes days. Two visits are compared position by
position (left eye with left eye), and the calibrated log-likelihood ratios of the positions present
in both are summed: a missing modality contributes nothing and is never imputed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.matching.templates import Compared, Embeddings, Templates
from biometric_core.schemas import BoolArray, Float32Array, IntArray, Modality, StrArray

MAX_KEPT = 4000
"""Similarities of this many captures with each other are kept: 64 MB."""
Fuse = Callable[[Mapping[Modality, Float32Array], BoolArray], Float32Array]


@dataclass(frozen=True)
class Channel:
    """One encoder's templates over the items; a fused comparison has some for each position.

    Attributes:
        templates: of N items; rows of absent items are not looked at.
        present: bool, (N,).
        weight: score = weight * similarity + bias.
        bias: see weight.
        modality: what the samples show; empty where channels are of several.
        position: which eye or finger; empty where samples are of several.
        presented: bool, (N,), what of `present` an item still has as a probe; all when None.
    """

    templates: Templates
    present: BoolArray
    weight: float = 1.0
    bias: float = 0.0
    modality: str = ""
    position: str = ""
    presented: BoolArray | None = None

    def take(self, rows: IntArray) -> "Channel":
        """The items at these rows, int64 (K,)."""
        presented = None if self.presented is None else self.presented[rows]
        taken = self.templates.take(rows)
        return replace(self, templates=taken, present=self.present[rows], presented=presented)

    def common(self, start: int, stop: int) -> BoolArray:
        """Whether items [start, stop) as probes and each item have this, bool (B, N)."""
        probes = self.present if self.presented is None else self.present & self.presented
        return np.asarray(probes[start:stop, None] & self.present[None, :], dtype=np.bool_)

    def scores(self, start: int, stop: int) -> Float32Array:
        """Items [start, stop) against all, float32 (B, N)."""
        block = self.templates.take(np.arange(start, stop))
        similarity = block.similarities(self.templates)
        return np.asarray(self.weight * similarity + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class Encoded:
    """Templates of the captures of a modality, and what turns similarity into an LLR."""

    templates: Templates
    weight: float = 1.0
    bias: float = 0.0

    def channel(self, rows: IntArray, modality: str = "", position: str = "") -> Channel:
        """The templates of these rows as a channel; -1 stands for an absent item."""
        taken = self.templates.take(rows)
        return Channel(taken, rows >= 0, self.weight, self.bias, modality, position)

    def take(self, rows: IntArray) -> "Encoded":
        """The templates at these rows, int64 (K,)."""
        return replace(self, templates=self.templates.take(rows))

    def compared(self) -> "Encoded":
        """The same, with all comparisons made now, if they are few enough to be kept."""
        return replace(self, templates=_compared(self.templates))


def _compared(templates: Templates) -> Templates:
    """Cosines are cheaper to compute again than to look up."""
    if isinstance(templates, Embeddings | Compared) or len(templates) > MAX_KEPT:
        return templates
    return Compared.of(templates)


@dataclass(frozen=True)
class Gallery:
    """Items that can be compared with each other.

    Attributes:
        items: str, (N,), the id of each item.
        subjects: str, (N,).
        labels: str, (N,), what makes a pair mated: the identity, or the subject where fused.
        channels: scores of channels are summed.
        average: divide the sum by the number of channels present in both items.
    """

    items: StrArray
    subjects: StrArray
    labels: StrArray
    channels: tuple[Channel, ...]
    average: bool = False

    def __len__(self) -> int:
        return len(self.items)

    @property
    def apart(self) -> bool:
        """Whether there are several modalities, and no item has more than one of them."""
        names = {channel.modality for channel in self.channels}
        own = [
            np.any([c.present for c in self.channels if c.modality == name], axis=0)
            for name in names
        ]
        return len(names) > 1 and not (np.sum(own, axis=0) > 1).any()

    def only(self, keep: Callable[[Channel], bool]) -> "Gallery":
        """The same items compared by some channels alone: one encoder, one eye."""
        return replace(self, channels=tuple(filter(keep, self.channels)))

    def take(self, rows: IntArray) -> "Gallery":
        """The items at these rows, int64 (K,), in that order."""
        channels = tuple(channel.take(rows) for channel in self.channels)
        items, subjects, labels = (a[rows] for a in (self.items, self.subjects, self.labels))
        return replace(self, items=items, subjects=subjects, labels=labels, channels=channels)

    def scores(self, start: int, stop: int) -> Float32Array:
        """Items [start, stop) against all, float32 (B, N); NaN where nothing is common to both.

        Raises:
            ValueError: an encoder gives scores that are not finite.
        """
        total = np.zeros((stop - start, len(self)), dtype=np.float32)
        common = np.zeros(total.shape, dtype=np.int32)
        for channel in self.channels:
            both = channel.common(start, stop)
            scores = channel.scores(start, stop)
            if not (np.isfinite(scores) | ~both).all():
                raise ValueError("scores that are not finite: the model is damaged")
            total += np.where(both, scores, np.float32(0))
            common += both
        if self.average:
            total /= np.maximum(common, 1)
        total[common == 0] = np.nan
        return total


def modality_gallery(captures: CaptureSet, encoders: Sequence[Encoded]) -> Gallery:
    """The captures of one modality as items; a pair is mated where the identity is the same.

    Args:
        captures: N captures.
        encoders: templates of the same captures; their scores are added.

    Raises:
        ValueError: templates don't fit the captures.
    """
    everything = np.arange(len(captures))
    for encoded in encoders:
        _check_length(encoded, captures)
    channels = tuple(encoded.channel(everything, captures.modality) for encoded in encoders)
    return Gallery(captures.capture_id, captures.subject_id, captures.identity, channels)


def _check_length(encoded: Encoded, captures: CaptureSet) -> None:
    if len(encoded.templates) != len(captures):
        raise ValueError(f"{len(encoded.templates)} templates do not fit {len(captures)} captures")


@dataclass(frozen=True)
class Visits:
    """Captures grouped into visits: (subject, day, impression).

    Attributes:
        items: str, (V,), `subject#day#impression`.
        subjects: str, (V,).
        rows: for each (modality, position) the capture's row of each visit, int64 (V,); -1 where
            the visit has none.
    """

    items: StrArray
    subjects: StrArray
    rows: Mapping[tuple[Modality, str], IntArray]


def visits(sets: Mapping[Modality, CaptureSet]) -> Visits:
    """Group captures by subject, day and impression number, over modalities and positions.

    Where an impression of a position was captured twice on a day, the first capture id counts.
    """
    keys = {modality: _visit_keys(captures) for modality, captures in sorted(sets.items())}
    ordered = sorted({key for found in keys.values() for key in found})
    index = {key: number for number, key in enumerate(ordered)}
    rows: dict[tuple[Modality, str], IntArray] = {}
    for modality, found in keys.items():
        for row in range(len(found) - 1, -1, -1):  # backwards: the first capture wins
            channel = (modality, str(sets[modality].position[row]))
            if channel not in rows:
                rows[channel] = np.full(len(ordered), -1, dtype=np.int64)
            rows[channel][index[found[row]]] = row
    return Visits(
        items=np.array(["#".join(map(str, key)) for key in ordered], dtype=str),
        subjects=np.array([subject for subject, _, _ in ordered], dtype=str),
        rows=dict(sorted(rows.items())),
    )


def _visit_keys(captures: CaptureSet) -> list[tuple[str, date, int]]:
    """Which visit each capture belongs to."""
    days = captures.captured_at.astype("datetime64[D]").tolist()
    subjects, impressions = captures.subject_id.tolist(), captures.impression.tolist()
    return list(zip(subjects, days, impressions, strict=True))


def fused_gallery(
    sets: Mapping[Modality, CaptureSet], encoders: Mapping[Modality, Sequence[Encoded]]
) -> Gallery:
    """Visits as items; the score is the sum of log-likelihood ratios over common positions.

    Args:
        sets: captures of each modality that takes part.
        encoders: templates of the same captures, for each modality.
    """
    grouped = visits(sets)
    channels: list[Channel] = []
    for (modality, position), rows in grouped.rows.items():
        for encoded in encoders[modality]:
            _check_length(encoded, sets[modality])
            channels.append(encoded.channel(rows, modality, position))
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
    rows: Mapping[Modality, IntArray], embeddings: Mapping[Modality, Float32Array], fuse: Fuse
) -> Channel:
    present = np.stack([found >= 0 for found in rows.values()], axis=1)
    known: BoolArray = np.any(present, axis=1)
    vectors = {m: embeddings[m][found[known]] for m, found in rows.items() if m in embeddings}
    fused = fuse(vectors, present[known])
    whole = np.zeros((len(known), fused.shape[1]), dtype=np.float32)
    whole[known] = fused
    return Channel(Embeddings(whole), known)
