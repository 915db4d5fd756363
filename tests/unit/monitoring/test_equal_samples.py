"""As many captures stand behind each subject of one window as behind each of the other."""

from dataclasses import replace

import numpy as np
import pytest

from biometric_core.monitoring.designs import Design, design
from biometric_core.monitoring.windows import Attempts

EYES = ("left", "right")


def rows(captures: dict[str, dict[str, int]], modality: str = "iris") -> Attempts:
    """So many captures of each position of each subject; each has a value of its own."""
    found = [
        (subject, f"{subject}/{modality}/{position}")
        for subject, positions in captures.items()
        for position, number in positions.items()
        for _ in range(number)
    ]
    subject, identity = (np.array(column, dtype=np.str_) for column in zip(*found, strict=True))
    number = len(subject)
    return Attempts(
        subject, identity, np.zeros(number, bool), np.ones(number), np.arange(number) * 1.0
    )


def shares(plan: Design) -> list[set[tuple[float, ...]]]:
    """Of each window's unpaired subjects: what their captures count, without who they are."""
    return [
        {tuple(sorted(row.data.round(6))) for row in part.matrix.tocsr()}
        for part in (plan.unseen, plan.new)
    ]


def people(prefix: str, number: int, *captures: int) -> dict[str, dict[str, int]]:
    """People with so many captures of the left eye, and of the right one where two are given."""
    of_each = {eye: n for eye, n in zip(EYES, captures, strict=False) if n}
    return {f"{prefix}{i:03d}": of_each for i in range(number)}


@pytest.mark.parametrize("of_day", [(5, 0), (5, 5), (1, 8), (3, 1)])
@pytest.mark.parametrize("of_reference", [(1, 0), (1, 1), (2, 3)])
def test_unpaired_subjects_of_both_windows_give_the_same(of_reference, of_day) -> None:
    plan = design(rows(people("r", 20, *of_reference)), rows(people("n", 30, *of_day)))
    before, now = shares(plan)
    assert before == now
    assert len(before) == 1, "and all of a window the same"
    assert plan.subjects == 30


def test_subjects_of_a_day_with_unequal_numbers_give_the_same() -> None:
    captures = {f"n{i}": {"left": 1 + i % 8, "right": 1 + (i // 8) % 8} for i in range(64)}
    plan = design(rows(people("r", 20, 1, 1)), rows(captures))
    assert shares(plan) == [{(0.5, 0.5)}, {(0.5, 0.5)}]
    assert plan.subjects == 64


def test_a_pair_has_as_many_captures_of_each_eye_on_both_sides() -> None:
    before = {"a": {"left": 2, "right": 1}, "b": {"left": 4}}
    plan = design(rows(before), rows({"a": {"left": 5, "right": 3}, "b": {"left": 1, "right": 9}}))
    sides = [side.matrix.tocsr() for side in (plan.pairs_reference, plan.pairs_current)]
    for side in sides:
        assert sorted(side[[0]].data) == pytest.approx([0.25, 0.25, 0.5])
        assert side[[1]].data == pytest.approx([1.0])


def test_fingers_are_compared_with_fingers_of_the_same_name_on_either_hand() -> None:
    fingers = [f"{hand}_{name}" for hand in EYES for name in ("thumb", "index", "middle")]
    known = {f"r{i}": dict.fromkeys(fingers, 1) for i in range(20)}
    plan = design(
        rows(known, "fingerprint"),
        rows({f"n{i}": {"right_index": 4} for i in range(20)}, "fingerprint"),
    )
    used = rows(known, "fingerprint").identity[np.unique(plan.unseen.matrix.tocsr().indices)]
    assert {name.rpartition("_")[2] for name in used.tolist()} == {"index"}
    assert shares(plan) == [{(1.0,)}, {(1.0,)}]


def test_windows_without_a_kind_of_finger_in_common_can_not_be_compared() -> None:
    thumbs = rows({f"r{i}": {"left_thumb": 1} for i in range(20)}, "fingerprint")
    others = rows({f"n{i}": {"left_index": 1} for i in range(20)}, "fingerprint")
    assert design(thumbs, others).subjects == 0


def test_more_captures_of_each_are_taken_where_enough_people_have_them() -> None:
    plan = design(rows(people("r", 40, 6)), rows(people("n", 38, 4) | people("m", 2, 1)))
    assert shares(plan) == [{(0.25,) * 4}, {(0.25,) * 4}]
    assert plan.subjects == 38
    spared = design(
        rows(people("r", 40, 6)), rows(people("n", 38, 4) | people("m", 2, 1)), least=40
    )
    assert spared.subjects == 40
    assert shares(spared) == [{(1.0,)}, {(1.0,)}]


def test_of_somebody_who_comes_every_day_the_last_capture_is_taken() -> None:
    daily = rows(people("n", 12, 14))
    age = np.tile(np.arange(14)[::-1], 12)
    plan = design(rows(people("r", 12, 1)), replace(daily, weight=0.8**age))
    taken = np.unique(plan.new.matrix.tocsr().indices)
    assert age[taken].tolist() == [0] * 12
    np.testing.assert_allclose(plan.new.weight, 1.0)
