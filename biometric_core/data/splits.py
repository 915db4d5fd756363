"""Which subject is used for what: sticky, by subject, the same in every process."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biometric_core.config import Splits
from biometric_core.data.capture_sets import CaptureSet
from biometric_core.errors import DataError
from biometric_core.schemas import Split
from biometric_core.storage.store import Store

_MIN_VALIDATION_SUBJECTS = 2

_GOLDEN = 0.6180339887498949
_MIN_IMPRESSIONS_TO_RESERVE = 3


def assign(
    known: Mapping[str, str], first_captures: Mapping[str, str], shares: Splits
) -> dict[str, str]:
    """Assign a split to every subject that has none; a known subject keeps its own for ever.

    New subjects are taken in the order of their smallest capture id, which depends on the content
    alone, and follow the golden-ratio sequence: the shares hold to within a subject or two for any
    number of subjects, and the same captures give the same splits on every installation.

    Args:
        known: split by subject id, of all subjects there are.
        first_captures: smallest capture id by subject id, of the subjects to place.
        shares: the shares of validation and test subjects.
    """
    splits = {subject: known[subject] for subject in first_captures if subject in known}
    new = sorted(set(first_captures) - set(known), key=lambda subject: first_captures[subject])
    for place, subject in enumerate(new, start=len(known)):
        position = (place + 0.5) * _GOLDEN % 1.0
        if position < shares.test:
            splits[subject] = Split.TEST.value
        elif position < shares.test + shares.validation:
            splits[subject] = Split.VALIDATION.value
        else:
            splits[subject] = Split.TRAIN.value
    return splits


def stored_splits(store: Store) -> dict[str, str]:
    """Split by subject, of all subjects in the captures table."""
    rows = store.read("captures", ["subject_id", "split"])
    found = rows.group_by("subject_id").aggregate([("split", "min")])
    return dict(zip(found["subject_id"].to_pylist(), found["split_min"].to_pylist(), strict=True))


def reserved(captures: CaptureSet) -> npt.NDArray[np.bool_]:
    """Captures of training subjects that are kept out of training, bool (N,).

    Of each identity with three impressions or more one: the closed-set test, and the training
    subjects' part of the drift reference, need captures the model has not seen. It is the latest
    one of every second subject, and the one before of the others: were it the latest of all, a
    sensor through which everybody has come once would never be trained on.
    """
    rows = np.zeros(len(captures), dtype=bool)
    order = np.lexsort((captures.capture_id, captures.impression, captures.captured_at))
    identities = captures.identity[order]
    for identity in np.unique(identities[captures.split[order] == Split.TRAIN]):
        own = order[identities == identity]
        if len(own) >= _MIN_IMPRESSIONS_TO_RESERVE:
            rows[own[-1 - _turn(str(captures.subject_id[own[0]]))]] = True
    return rows


def _turn(subject: str) -> int:
    """0 or 1, for ever the same for a subject; about half of them have either."""
    return hashlib.sha256(subject.encode()).digest()[0] & 1


def training_rows(captures: CaptureSet) -> npt.NDArray[np.bool_]:
    """Captures a model is fitted on, bool (N,): of training subjects, less the reserved ones."""
    return np.asarray((captures.split == Split.TRAIN) & ~reserved(captures))


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold; the three are disjoint.

    Attributes:
        train: fitted on.
        validation: training subjects held out for early stopping and calibration.
        test: measured on.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def subject_folds(
    groups: Sequence[Sequence[str]], folds: int, validation_share: float, seed: int
) -> list[Fold]:
    """Divide subjects; each is tested in exactly one fold, and every fold has its share of a group.

    Args:
        groups: subjects of each source, in any order; the result depends on the sets only.
        folds: at least 2.
        validation_share: of a fold's training subjects of each group, at least two of them where
            one is left to train on.
        seed: of the division.

    Raises:
        DataError: too few subjects for so many folds.
    """
    names = [sorted(set(group)) for group in groups]
    total = sum(map(len, names))
    if folds < 2 or total < 2 * folds:
        raise DataError(
            f"{total} subjects for {folds} folds: at least 2 folds of 2 subjects are needed"
        )
    dealt = list(_dealt(names, folds, seed))
    return [_fold(dealt, number, validation_share) for number in range(folds)]


def _dealt(names: Sequence[Sequence[str]], folds: int, seed: int) -> Iterator[list[list[str]]]:
    """For each group its subjects in each fold; one group goes on where the last one ended."""
    rng, start = np.random.default_rng(seed), 0
    for group in names:
        mixed = [group[i] for i in rng.permutation(len(group))]
        yield [mixed[(number - start) % folds :: folds] for number in range(folds)]
        start += len(group)


def _fold(dealt: Sequence[Sequence[Sequence[str]]], number: int, share: float) -> Fold:
    train: list[str] = []
    validation: list[str] = []
    for parts in dealt:
        rest = [name for other, part in enumerate(parts) if other != number for name in part]
        held = max(_MIN_VALIDATION_SUBJECTS, round(share * len(rest)))
        held = max(0, min(held, len(rest) - 1))
        validation += rest[:held]
        train += rest[held:]
    if not validation:  # every group is a subject or two
        validation, train = train[:1], train[1:]
    test = tuple(name for parts in dealt for name in parts[number])
    return Fold(tuple(train), tuple(validation), test)
