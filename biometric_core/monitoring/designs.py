"""Which subjects of two windows are compared, and how their captures are averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from scipy.sparse import csr_array

from biometric_core.monitoring.equal_samples import Coded, coded, paired, unpaired
from biometric_core.monitoring.windows import Labelled
from biometric_core.schemas import Float64Array, IntArray

# The same contrast of two groups of one subject each tells nothing about their spread.
_MIN_UNPAIRED = 2


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


def averaging(rows: Coded, chosen: IntArray) -> Averaging:
    """Average the rows of an index, int64 (M,), by subject, which are in the order of codes."""
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
    pairs = paired(before, now, rng)
    unseen = ~before.trained_on & ~np.isin(before.subject, now.subject)
    new = ~now.trained_on & ~np.isin(now.subject, before.subject)
    others = unpaired(before, now, (unseen, new), least, rng)
    sides = (before, now, before, now)
    return Design(*(averaging(*side) for side in zip(sides, (*pairs, *others), strict=True)))


def population_design(
    reference: Labelled, current: Labelled, *, seed: int | Sequence[int] = 0
) -> Design:
    """New subjects against everybody in the reference that the model was not trained on."""
    rng = np.random.default_rng(seed)
    before, now = coded(reference, current)
    nobody = np.zeros(0, dtype=np.int64)
    new = ~now.trained_on & ~np.isin(now.subject, before.subject)
    others = unpaired(before, now, (~before.trained_on, new), 1, rng)
    sides = (before, now, before, now)
    return Design(
        *(averaging(*side) for side in zip(sides, (nobody, nobody, *others), strict=True))
    )
