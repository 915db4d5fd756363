"""Comparisons: which samples are compared with which, and the scores.

All pairs of different captures are compared once (i < j; scores are symmetric). An identity is one
eye or one finger, so the left eye of a subject against the right eye of the same subject is a
non-mated comparison, and non-mated comparisons run over all identities of the modality, whatever
their position. A capture is never compared with itself, nor with a copy of the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biometric_core.matching import error_rates
from biometric_core.matching.gallery import Gallery
from biometric_core.schemas import BoolArray, Float64Array, IntArray, StrArray

MAX_NON_MATED = 400_000
"""Beyond this many, a seeded sample of the non-mated pairs is scored: enough for an FMR of 1e-4."""
_BLOCK = 512


@dataclass(frozen=True)
class Comparisons:
    """Scored pairs.

    Attributes:
        scores: float64, (P,), higher is more alike.
        mated: bool, (P,), both sides come from the same identity (fused: subject).
        first: int64, (P,), index into `items` of one side; `second` of the other.
        items: str, (N,), capture ids (fused: visits).
        subjects: str, (N,), the subject of each item.
    """

    scores: Float64Array
    mated: BoolArray
    first: IntArray
    second: IntArray
    items: StrArray
    subjects: StrArray

    def __post_init__(self) -> None:
        error_rates.checked(self.scores, self.mated)
        if not len(self.scores) == len(self.first) == len(self.second):
            raise ValueError("scores and pair indices differ in length")
        if len(self.items) != len(self.subjects):
            raise ValueError("items and subjects differ in length")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def subject_a(self) -> StrArray:
        """Subject of the first side, str (P,)."""
        return self.subjects[self.first]

    @property
    def subject_b(self) -> StrArray:
        """Subject of the second side, str (P,)."""
        return self.subjects[self.second]

    @property
    def n_mated(self) -> int:
        """Number of mated comparisons."""
        return int(self.mated.sum())

    @property
    def n_non_mated(self) -> int:
        """Number of non-mated comparisons."""
        return len(self) - self.n_mated

    def select(self, rows: BoolArray) -> "Comparisons":
        """The pairs of a mask, bool (P,); the items stay."""
        scores, mated = self.scores[rows], self.mated[rows]
        first, second = self.first[rows], self.second[rows]
        return Comparisons(scores, mated, first, second, self.items, self.subjects)

    def same_pairs(self, other: "Comparisons") -> bool:
        """Whether both hold exactly the same pairs, in the same order, with the same labels."""
        return (
            np.array_equal(self.items, other.items)
            and np.array_equal(self.subjects, other.subjects)
            and np.array_equal(self.first, other.first)
            and np.array_equal(self.second, other.second)
            and np.array_equal(self.mated, other.mated)
        )


def _codes(values: StrArray) -> IntArray:
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)


def compare_all(gallery: Gallery, max_non_mated: int = MAX_NON_MATED, seed: int = 0) -> Comparisons:
    """Score every pair i < j that has something in common; never an item with itself or a copy.

    All mated pairs are kept. Where there would be more than `max_non_mated` non-mated pairs, a
    seeded random sample of about that many is kept (which pairs depends on the items only, so two
    models see the same ones).
    """
    labels, copies = _codes(gallery.labels), _codes(gallery.items)
    pairs = len(gallery) * (len(gallery) - 1) / 2
    share = min(1.0, max_non_mated / max(pairs, 1))
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, len(gallery), _BLOCK):
        stop = min(start + _BLOCK, len(gallery))
        scores = gallery.scores(start, stop)
        keep = np.arange(len(gallery))[None, :] > np.arange(start, stop)[:, None]
        keep &= (copies[start:stop, None] != copies[None, :]) & ~np.isnan(scores)
        mated = labels[start:stop, None] == labels[None, :]
        if share < 1:
            keep &= mated | (rng.random(keep.shape) < share)
        first, second = np.nonzero(keep)
        parts.append((scores[first, second], mated[first, second], first + start, second))
    return _joined(gallery, parts)


def _joined(gallery: Gallery, parts: list[tuple[Any, Any, Any, Any]]) -> Comparisons:
    if not parts:
        parts = [(np.zeros(0), np.zeros(0, bool), np.zeros(0, int), np.zeros(0, int))]
    scores, mated, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Comparisons(
        scores=scores.astype(np.float64),
        mated=mated.astype(np.bool_),
        first=first.astype(np.int64),
        second=second.astype(np.int64),
        items=gallery.items,
        subjects=gallery.subjects,
    )


def pooled(parts: Sequence[Comparisons]) -> Comparisons:
    """The comparisons of several folds or rounds as one; items keep their names."""
    starts = np.cumsum([0, *(len(part.items) for part in parts)])[:-1]
    shifted = list(zip(parts, starts, strict=True))
    return Comparisons(
        scores=np.concatenate([part.scores for part in parts]),
        mated=np.concatenate([part.mated for part in parts]),
        first=np.concatenate([part.first + start for part, start in shifted]),
        second=np.concatenate([part.second + start for part, start in shifted]),
        items=np.concatenate([part.items for part in parts]),
        subjects=np.concatenate([part.subjects for part in parts]),
    )


@dataclass(frozen=True)
class Identification:
    """Closed-set identification with one gallery image for each identity.

    Attributes:
        ranks: int64, (Q,), the rank of each probe's own identity.
        subjects: str, (Q,), the probe's subject.
    """

    ranks: IntArray
    subjects: StrArray

    @property
    def rank1(self) -> float | None:
        """Share of probes whose own identity scores highest; None without probes."""
        return error_rates.rank1(self.ranks)


def identify(gallery: Gallery) -> Identification:
    """Rank of every probe, with each item of an identity serving as its gallery image in turn.

    In round r the gallery holds item r (modulo their number) of every identity, one each;
    all other items are probes. Averaging the rounds takes the luck out of the choice. A probe that
    has nothing in common with a reference (fused) scores below everything there; identities with
    one item are in the gallery as distractors.
    """
    labels, copies = _codes(gallery.labels), _codes(gallery.items)
    rounds = list(_rounds(labels))
    found: list[tuple[Any, Any]] = [(np.zeros(0, np.int64), gallery.subjects[:0])]
    anything = np.zeros(len(gallery), dtype=np.bool_)  # a probe that lost all is no probe
    for start in range(0, len(gallery), _BLOCK):
        stop = min(start + _BLOCK, len(gallery))
        block = gallery.scores(start, stop)
        anything[start:stop] = (~np.isnan(block) & (copies[start:stop, None] != copies)).any(axis=1)
        for references in rounds:
            scores = block[:, references]
            mated = labels[start:stop, None] == labels[references][None, :]
            same = copies[start:stop, None] == copies[references][None, :]
            probes = (mated & ~same).any(axis=1) & ~(mated & same).any(axis=1)
            probes &= anything[start:stop]
            scores = np.where(np.isnan(scores), -np.inf, scores)
            found.append(
                (
                    error_rates.ranks(scores[probes], mated[probes]),
                    gallery.subjects[start:stop][probes],
                )
            )
    ranks, subjects = (np.concatenate(column) for column in zip(*found, strict=True))
    return Identification(ranks=ranks, subjects=subjects)


def _rounds(labels: IntArray) -> Iterator[IntArray]:
    """For each round the gallery's item numbers, one for each label, (L,)."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    for number in range(int(counts[counts > 0].max(initial=0)) if len(counts) else 0):
        yield order[starts + number % counts]
