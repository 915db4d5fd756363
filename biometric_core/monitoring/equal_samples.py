"""The same number of captures from each subject, in both windows.

A permutation test is exact where relabelling changes nothing, and two subjects can only be
exchanged where as many captures stand behind each: a mean of five has less spread than one capture,
and with groups of unequal size that alone raises alarms (Chung and Romano 2013, section 1). So each
subject gives as many captures of the same kind of eyes or fingers in both windows:

* a subject seen in both windows: of each shared identity as many captures as the smaller window
  has, so that swapping the two windows changes nothing;
* a subject seen in one window only: of each of the same kinds of position (eyes are one kind,
  thumbs are one, index fingers are one) the same number of identities, of each identity the same
  number of captures. Which numbers is decided by how much they tell; a subject with fewer is left
  out.

Of more captures the most recent ones are taken, and chance decides among those of a day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from biometric_core.monitoring.windows import Labelled
from biometric_core.schemas import EYES, BoolArray, Float64Array, IntArray, StrArray

# More subjects than this hardly make the contrast sharper, and cost time and memory.
_MOST_SUBJECTS = 2000
_MOST_CAPTURES = 8
_SHARED = 0.5  # of the spread, what captures of an identity, and eyes of a subject, have in common


@dataclass(frozen=True)
class Coded:
    """Rows of a window with numbers for names, the same in both windows; all int64 or float64.

    Attributes:
        identity, subject: (N,); codes.
        kind: (N,); code of the kind of eye or finger.
        trained_on, weight: (N,); as in `Labelled`.
    """

    identity: IntArray
    subject: IntArray
    kind: IntArray
    trained_on: BoolArray
    weight: Float64Array

    def __len__(self) -> int:
        return len(self.identity)

    def draw(self, quota: IntArray, rng: np.random.Generator) -> IntArray:
        """The most recent rows of each identity, as many as its quota, int64 (I,), allows.

        Chance decides between rows of one day.
        """
        mine = np.flatnonzero(quota[self.identity] > 0)
        mine = mine[np.lexsort((rng.random(len(mine)), -self.weight[mine]))]
        identity = self.identity[mine]
        return mine[rank_in_group(identity) < quota[identity]]


def coded(reference: Labelled, current: Labelled) -> tuple[Coded, Coded]:
    """Both windows with the same numbers for the same names."""
    identity, names = _codes(reference.identity, current.identity)
    subject, _ = _codes(reference.subject, current.subject)
    kinds = np.unique([_kind(name) for name in names], return_inverse=True)[1]
    kind = kinds.astype(np.int64)[identity]
    split, result = len(reference), []
    for rows, part in ((reference, slice(None, split)), (current, slice(split, None))):
        codes = identity[part], subject[part], kind[part]
        result.append(Coded(*codes, rows.trained_on, rows.weight))
    return result[0], result[1]


def _codes(one: StrArray, other: StrArray) -> tuple[IntArray, list[str]]:
    # By hashing: sorting a hundred thousand long names takes a second.
    found = pa.array(np.concatenate([one, other]).tolist(), pa.string()).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist()


def _kind(identity: str) -> str:
    """Eyes are alike, and so are the fingers of one name on both hands."""
    position = identity.rpartition("/")[2] if "/" in identity else ""
    return "eye" if position in EYES else position.rpartition("_")[2]


def rank_in_group(group: IntArray) -> IntArray:
    """Place of each row among those of its group, in the order of rows, int64 (N,)."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - starts
    return ranks


def paired(before: Coded, now: Coded, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Rows, int64, of subjects seen in both windows, of the identities that both have."""
    identities = 1 + max(window.identity.max(initial=-1) for window in (before, now))
    counts = (np.bincount(window.identity, minlength=identities) for window in (before, now))
    common = np.minimum(*counts).astype(np.int64)
    return before.draw(common, rng), now.draw(common, rng)


def unpaired(
    before: Coded,
    now: Coded,
    among: tuple[BoolArray, BoolArray],
    least: int,
    rng: np.random.Generator,
) -> tuple[IntArray, IntArray]:
    """Rows, int64, of subjects that stand in one window each.

    Args:
        before: the reference.
        now: the other window.
        among: bool, (N,) each: which rows are of such subjects.
        least: subjects of `now` that are not given up for more captures of each.
        rng: decides between captures of one day.
    """
    unseen, new = (_Candidates(rows, some) for rows, some in zip((before, now), among, strict=True))
    best, most = None, 0.0
    for sample in _samples(unseen, new):
        known, others = (int(window.able(sample).sum()) for window in (unseen, new))
        told = sample.gain * known * others / max(known + others, 1)
        if told > most and (best is None or others >= least):
            best, most = sample, told
    if best is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return unseen.draw(best, rng), new.draw(best, rng)


class _Sample(NamedTuple):
    """What each unpaired subject gives: of each kind as many identities, of each as many rows."""

    kinds: tuple[int, ...]
    identities: int
    captures: int

    @property
    def gain(self) -> float:
        """What it tells, in subjects of one capture (the design effect, Kish 1965)."""
        eyes = len(self.kinds) * self.identities
        of_eyes = eyes / (1 + (eyes - 1) * _SHARED)
        return of_eyes * self.captures / (1 + (self.captures - 1) * _SHARED)


class _Candidates:
    """Rows of unpaired subjects in one window, by identity (I), its subject and its kind."""

    def __init__(self, rows: Coded, among: BoolArray) -> None:
        self.rows = rows
        used = np.flatnonzero(among)
        self.names, first, self.captures = np.unique(
            rows.identity[used], return_index=True, return_counts=True
        )
        self.subjects, self.owner = np.unique(rows.subject[used][first], return_inverse=True)
        self.kind = rows.kind[used][first]
        self.kinds = 1 + int(rows.kind.max(initial=-1))

    def able(self, sample: _Sample) -> BoolArray:
        """Which subjects, bool (S,), can give that much."""
        enough = self.captures >= sample.captures
        cell = self.owner[enough] * self.kinds + self.kind[enough]
        table = np.bincount(cell, minlength=len(self.subjects) * self.kinds)
        table = table.reshape(len(self.subjects), self.kinds)
        return np.asarray((table[:, list(sample.kinds)] >= sample.identities).all(axis=1))

    def draw(self, sample: _Sample, rng: np.random.Generator) -> IntArray:
        """Rows of what they give, int64; of too many subjects, a random choice."""
        subjects = np.flatnonzero(self.able(sample))
        if len(subjects) > _MOST_SUBJECTS:
            subjects = rng.choice(subjects, _MOST_SUBJECTS, replace=False)
        giving = np.isin(self.owner, subjects) & np.isin(self.kind, sample.kinds)
        names = self._most_recent(np.flatnonzero(giving & (self.captures >= sample.captures)), rng)
        cell = self.owner[names] * self.kinds + self.kind[names]
        chosen = self.names[names[rank_in_group(cell) < sample.identities]]
        quota = np.zeros(1 + self.rows.identity.max(initial=-1), dtype=np.int64)
        quota[chosen] = sample.captures
        return self.rows.draw(quota, rng)

    def _most_recent(self, identities: IntArray, rng: np.random.Generator) -> IntArray:
        recent = np.zeros(1 + self.rows.identity.max(initial=-1))
        np.maximum.at(recent, self.rows.identity, self.rows.weight)
        weight = recent[self.names[identities]]
        return identities[np.lexsort((rng.random(len(identities)), -weight))]


def _samples(unseen: _Candidates, new: _Candidates) -> Iterator[_Sample]:
    """What both windows may give, the least first: of one kind of position or of all they share."""
    shared = np.intersect1d(unseen.kind, new.kind).tolist()
    if not shared:
        return
    captures = min(int(unseen.captures.max()), int(new.captures.max()), _MOST_CAPTURES)
    kinds = [(kind,) for kind in shared] + ([tuple(shared)] if len(shared) > 1 else [])
    for number in range(1, captures + 1):
        yield from (_Sample(each, eyes, number) for each in kinds for eyes in (1, 2))
