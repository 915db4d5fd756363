"""Which subjects of two windows are compared, and by which of their captures.

A permutation test is exact where relabelling changes nothing, and two subjects can only be
exchanged where as many captures stand behind each: a mean of five has less spread than one capture,
and with groups of unequal size that alone raises alarms (Chung and Romano 2013, section 1). So each
subject gives *the same number of captures of the same kind of eyes or fingers* in both windows:

* a subject seen in both windows: of each shared identity as many captures as the smaller window
  has, so that swapping the two windows changes nothing;
* a subject seen in one window only (and that the model was not trained on): of each of the same
  kinds of position (eyes are one kind, thumbs are one, index fingers are one) the same number of
  identities, of each identity the same number of captures. Which numbers is decided by how much
  they tell; a subject with fewer is left out.

Of more captures the most recent ones are taken, and chance decides among those of a day.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lgamma, log
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from biometric_core.monitoring.windows import Labelled
from biometric_core.schemas import EYES, BoolArray, Float64Array, IntArray, StrArray

# The same contrast of two groups of one subject each tells nothing about their spread.
_MIN_UNPAIRED = 2
# More subjects than this hardly make the contrast sharper, and cost time and memory.
_MOST_SUBJECTS = 2000
_MOST_CAPTURES = 8
_SHARED = 0.5  # of the spread, what captures of an identity, and eyes of a subject, have in common


@dataclass(frozen=True)
class Averaging:
    """How rows become subjects.

    Attributes:
        matrix: float64, (S, N), sparse; rows sum to 1. Rows are averaged by identity, and
            identities by subject.
        weight: float64, (S,); what each subject counts: the weight of its most recent row.
    """

    matrix: csr_array
    weight: Float64Array

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def effective(self) -> float:
        """Number of equally weighted subjects that would be as precise (Kish 1965)."""
        return float(self.weight.sum() ** 2 / np.square(self.weight).sum()) if len(self) else 0.0

    @property
    def shares(self) -> Float64Array:
        """What each subject counts in the mean, (S,); sums to 1."""
        return self.weight / self.weight.sum() if len(self) else self.weight


def averaging(rows: "Coded", chosen: IntArray) -> Averaging:
    """Average the rows of an index, int64 (M,), by subject; subjects in the order of their codes."""
    identities, identity = np.unique(rows.identity[chosen], return_inverse=True)
    subjects, subject = np.unique(rows.subject[chosen], return_inverse=True)
    owner = np.zeros(len(identities), dtype=np.int64)
    owner[identity] = subject
    eyes = np.bincount(owner, minlength=len(subjects))
    share = 1 / (np.bincount(identity, minlength=len(identities))[identity] * eyes[subject])
    matrix = csr_array((share, (subject, chosen)), shape=(len(subjects), len(rows)))
    recent = np.zeros(len(subjects))
    np.maximum.at(recent, subject, rows.weight[chosen])
    return Averaging(matrix, recent)


@dataclass(frozen=True)
class Design:
    """Which subjects of two windows are compared, and how.

    Attributes:
        pairs_reference: of P subjects seen in both windows, their rows of the reference.
        pairs_current: the same subjects in the same order, their rows of the day.
        unseen: R subjects of the reference only, never trained on.
        new: C subjects of the day only, never trained on.
    """

    pairs_reference: Averaging
    pairs_current: Averaging
    unseen: Averaging
    new: Averaging

    @property
    def subjects(self) -> int:
        """Subjects of the day that can be tested: the pairs, and the new ones if comparable."""
        return len(self.pairs_current) + (len(self.new) if self.weights[1] > 0 else 0)

    @property
    def known(self) -> int:
        """Subjects of the reference that they are compared with."""
        return len(self.pairs_reference) + len(self.unseen)

    @property
    def weights(self) -> tuple[float, float]:
        """Precision of the paired and of the unpaired contrast, in effective subjects."""
        new, unseen = self.new.effective, len(self.unseen)
        usable = new > 0 and unseen > 0 and len(self.new) + unseen > _MIN_UNPAIRED
        unpaired = new * unseen / (new + unseen) if usable else 0.0
        return self.pairs_current.effective / 2, unpaired

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that any day could reach with this many subjects.

        A T2 does not change when all windows are exchanged, hence 2 / relabellings for pairs alone.
        """
        pairs, new, unseen = len(self.pairs_current), len(self.new), len(self.unseen)
        relabellings = pairs * log(2)
        if self.weights[1] > 0:
            relabellings += lgamma(new + unseen + 1) - lgamma(new + 1) - lgamma(unseen + 1)
        return float(min(1.0, 2 * np.exp(-relabellings)))


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
        return mine[_rank(identity) < quota[identity]]


def coded(reference: Labelled, current: Labelled) -> tuple[Coded, Coded]:
    """Both windows with the same numbers for the same names."""
    split = len(reference)
    identity, names = _codes(reference.identity, current.identity)
    subject, _ = _codes(reference.subject, current.subject)
    kinds = np.unique([_kind(name) for name in names], return_inverse=True)[1]
    kind = kinds.astype(np.int64)[identity] if len(names) else identity
    return (
        Coded(*(c[:split] for c in (identity, subject, kind)), *_labels(reference)),
        Coded(*(c[split:] for c in (identity, subject, kind)), *_labels(current)),
    )


def _codes(one: StrArray, other: StrArray) -> tuple[IntArray, list[str]]:
    # By hashing: sorting a hundred thousand long names takes a second.
    found = pa.array(np.concatenate([one, other]).tolist(), pa.string()).dictionary_encode()
    return found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist()


def _labels(rows: Labelled) -> tuple[BoolArray, Float64Array]:
    return rows.trained_on, rows.weight


def _kind(identity: str) -> str:
    """Eyes are alike, and so are the fingers of one name on both hands."""
    position = identity.rpartition("/")[2] if "/" in identity else ""
    return "eye" if position in EYES else position.rpartition("_")[2]


def _rank(group: IntArray) -> IntArray:
    """Place of each row among those of its group, in the order of rows, int64 (N,)."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - starts
    return ranks


def design(
    reference: Labelled, current: Labelled, *, seed: int | Sequence[int] = 0, least: int = 1
) -> Design:
    """Decide which subjects are paired, which are exchangeable, and which say nothing.

    Dropped: unpaired subjects the model was trained on (in either window), and in a pair the
    identities that only one window has.

    Args:
        reference: rows of the reference.
        current: rows of the day or of the recent days.
        seed: decides between captures of one day.
        least: unpaired subjects of the day that are not given up for more captures of each.
    """
    rng = np.random.default_rng(seed)
    before, now = coded(reference, current)
    identities = 1 + max(before.identity.max(initial=-1), now.identity.max(initial=-1))
    common = np.minimum(*(np.bincount(c.identity, minlength=identities) for c in (before, now)))
    unseen = ~before.trained_on & ~np.isin(before.subject, now.subject)
    new = ~now.trained_on & ~np.isin(now.subject, before.subject)
    return Design(
        averaging(before, before.draw(common, rng)),
        averaging(now, now.draw(common, rng)),
        *_alike(_Candidates(before, unseen), _Candidates(now, new), least, rng),
    )


def population_design(
    reference: Labelled, current: Labelled, *, seed: int | Sequence[int] = 0
) -> Design:
    """New subjects against everybody in the reference that the model was not trained on."""
    before, now = coded(reference, current)
    nobody = np.zeros(0, dtype=np.int64)
    new = ~now.trained_on & ~np.isin(now.subject, before.subject)
    unseen, others = _Candidates(before, ~before.trained_on), _Candidates(now, new)
    return Design(
        averaging(before, nobody),
        averaging(now, nobody),
        *_alike(unseen, others, 1, np.random.default_rng(seed)),
    )


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
        chosen = self.names[names[_rank(cell) < sample.identities]]
        quota = np.zeros(1 + self.rows.identity.max(initial=-1), dtype=np.int64)
        quota[chosen] = sample.captures
        return self.rows.draw(quota, rng)

    def _most_recent(self, identities: IntArray, rng: np.random.Generator) -> IntArray:
        recent = np.zeros(1 + self.rows.identity.max(initial=-1))
        np.maximum.at(recent, self.rows.identity, self.rows.weight)
        weight = recent[self.names[identities]]
        return identities[np.lexsort((rng.random(len(identities)), -weight))]


def _alike(
    unseen: _Candidates, new: _Candidates, least: int, rng: np.random.Generator
) -> tuple[Averaging, Averaging]:
    """Unpaired subjects of both windows, each with the same number of captures of the same kind."""
    best, most = None, 0.0
    for sample in _samples(unseen, new):
        known, others = (int(window.able(sample).sum()) for window in (unseen, new))
        told = sample.gain * known * others / max(known + others, 1)
        if told > most and (best is None or others >= least):
            best, most = sample, told
    if best is None:
        nobody = np.zeros(0, dtype=np.int64)
        return averaging(unseen.rows, nobody), averaging(new.rows, nobody)
    return (
        averaging(unseen.rows, unseen.draw(best, rng)),
        averaging(new.rows, new.draw(best, rng)),
    )


def _samples(unseen: _Candidates, new: _Candidates) -> Iterator[_Sample]:
    """What both windows may give, the least first: of one kind of position or of all they share."""
    shared = np.intersect1d(unseen.kind, new.kind).tolist()
    if not shared:
        return
    captures = min(int(unseen.captures.max()), int(new.captures.max()), _MOST_CAPTURES)
    kinds = [(kind,) for kind in shared] + ([tuple(shared)] if len(shared) > 1 else [])
    for number in range(1, captures + 1):
        yield from (_Sample(each, eyes, number) for each in kinds for eyes in (1, 2))
