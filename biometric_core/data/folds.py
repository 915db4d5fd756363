"""Folds by subject."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from biometric_core.errors import DataError

_MIN_VALIDATION_SUBJECTS = 2


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
