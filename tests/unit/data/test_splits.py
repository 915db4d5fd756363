from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.config import Splits
from biometric_core.data.capture_sets import CaptureSet, from_columns
from biometric_core.data.splits import assign, reserved, training_rows
from biometric_core.schemas import Modality

SHARES = Splits(validation=0.15, test=0.35)
SUBJECTS = st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=60)


def named(numbers: list[int]) -> dict[str, str]:
    return {f"subject-{n}": f"{n * 2654435761 % 2**32:08x}" for n in numbers}


@given(SUBJECTS, st.randoms())
def test_splits_do_not_depend_on_the_order_of_arrival_within_a_batch(numbers, random):
    first = named(numbers)
    shuffled = list(first.items())
    random.shuffle(shuffled)
    assert assign({}, first, SHARES) == assign({}, dict(shuffled), SHARES)


@given(SUBJECTS, SUBJECTS)
def test_a_subject_keeps_its_split_for_ever(before, after):
    known = assign({}, named(before), SHARES)
    later = assign(known, named(before) | named(after), SHARES)
    assert all(later[subject] == split for subject, split in known.items())
    assert set(later) == set(named(before) | named(after))


@given(st.integers(20, 300))
def test_shares_hold_to_within_two_subjects(n):
    counts = Counter(assign({}, named(list(range(n))), SHARES).values())
    assert abs(counts["test"] - 0.35 * n) <= 2
    assert abs(counts["validation"] - 0.15 * n) <= 2


def captures(subjects: list[str], splits: list[str], impressions: list[int]) -> CaptureSet:
    n = len(subjects)
    columns = {
        "capture_id": [f"{i:04}" for i in range(n)],
        "subject_id": subjects,
        "position": ["left"] * n,
        "sensor": ["s"] * n,
        "split": splits,
        "impression": impressions,
        "captured_at": ["2026-01-01"] * n,
    }
    pixels = np.zeros((n, 2, 2), np.uint8)
    return from_columns(Modality.IRIS, columns, pixels, pixels, np.ones(n, np.float32))


def test_one_impression_of_training_subjects_is_kept_out_of_training():
    cs = captures(
        ["a"] * 3 + ["b"] * 2 + ["c"] * 3, ["train"] * 5 + ["test"] * 3, [1, 3, 2, 1, 2, 1, 2, 3]
    )
    kept = np.flatnonzero(reserved(cs))
    assert kept.tolist() in ([1], [2]), "b has too few, c is no training subject"
    assert set(np.flatnonzero(training_rows(cs))) == set(range(5)) - set(kept)


def test_what_everybody_gave_last_is_trained_on_of_half_of_the_people():
    names = [f"p{number}" for number in range(200) for _ in range(4)]
    cs = captures(names, ["train"] * 800, [1, 2, 3, 4] * 200)
    kept = cs.impression[reserved(cs)]
    assert set(kept) == {3, 4}
    assert len(kept) == 200
    assert 70 < (kept == 4).sum() < 130


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=40))
def test_no_capture_is_on_both_sides_of_the_split(pairs):
    first = {f"{s}": f"{s:02}" for s, _ in pairs}
    splits = assign({}, first, SHARES)
    subjects = [f"{s}" for s, _ in pairs]
    cs = captures(subjects, [splits[s] for s in subjects], [i for _, i in pairs])
    train, kept = training_rows(cs), reserved(cs)
    assert not (train & kept).any()
    assert set(cs.split[train]) <= {"train"}
    assert not set(cs.subject_id[train]) & set(cs.subject_id[cs.split == "test"])
    assert not set(cs.capture_id[train]) & set(cs.capture_id[~train])
