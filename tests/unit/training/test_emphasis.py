"""New captures count more, or less, in training."""

from datetime import date

import numpy as np
import pytest

from biometric_core.data.capture_sets import CaptureSet, from_columns
from biometric_core.history.changes import Change
from biometric_core.schemas import Modality
from biometric_core.training.emphasis import Emphasis

DAY = date(2026, 1, 5)


def captures(old: int, new: int) -> dict[Modality, CaptureSet]:
    count = old + new
    columns = {
        "capture_id": [f"{n:05}" for n in range(count)],
        "captured_at": ["2026-01-04T23:59:59"] * old + ["2026-01-05"] * new,
        "impression": [1] * count,
        **{name: ["x"] * count for name in ("subject_id", "position", "sensor", "split")},
    }
    pixels = np.zeros((count, 2, 2), np.uint8)
    made = from_columns(Modality.IRIS, columns, pixels, pixels, np.ones(count, np.float32))
    return {Modality.IRIS: made}


def counts(weight: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    found = Emphasis(Change(DAY), weight).applied(captures(300, 700), seed)[Modality.IRIS]
    number = np.bincount(found.capture_id.astype(int), minlength=1000)
    return number[:300], number[300:]


def test_a_weight_of_one_leaves_everything_as_it_is():
    old, new = counts(1.0)
    assert set(old) == set(new) == {1}


@pytest.mark.parametrize("weight", [0.2, 0.6, 1.5, 4.0])
def test_new_captures_come_weight_times_as_often_and_none_is_lost(weight):
    old, new = counts(weight)
    assert min(old.min(), new.min()) == 1 or weight == 4.0
    assert old.min() >= 1
    assert new.min() >= 1
    assert new.mean() / old.mean() == pytest.approx(weight, rel=0.1)


def test_captures_of_sensors_that_have_not_moved_count_as_before():
    made = captures(300, 700)
    taken = made[Modality.IRIS]
    moved = np.where(np.arange(1000) % 2, "door-3", "door-4")
    sets = {Modality.IRIS: CaptureSet(**{**vars(taken), "sensor": moved})}
    change = Change.of(DAY, [("iris", "door-3"), ("fingerprint", "door-4")])
    found = Emphasis(change, 3.0).applied(sets, 0)[Modality.IRIS]
    number = np.bincount(found.capture_id.astype(int), minlength=1000)
    new = (np.arange(1000) >= 300) & (moved == "door-3")
    assert set(number[new]) == {3}
    assert set(number[~new]) == {1}


def test_the_same_seed_gives_the_same_rows():
    assert np.array_equal(counts(1.5, 3)[1], counts(1.5, 3)[1])
    assert not np.array_equal(counts(1.5, 3)[1], counts(1.5, 4)[1])


def test_tags_bring_it_back():
    made = Emphasis(Change(DAY), 2.5)
    assert Emphasis.from_tags(made.tags()) == made
    assert made.tags() == {"new_since": "2026-01-05", "new_weight": "2.5"}
    one = Emphasis(Change.of(DAY, [["iris", "door-3"], ["fingerprint", "x<y>"]]), 2.5)
    assert Emphasis.from_tags(one.tags()) == one
    assert Emphasis.from_tags({"as_of": "2026-01-05"}) is None
