import numpy as np
import pytest

from biometric_core.config import Evaluation
from biometric_core.evaluation.differentials import (
    NOT_CARRIED,
    differentials,
    subject_sex,
    traits_of,
    within,
)
from biometric_core.matching import bootstrap, error_rates
from biometric_core.matching.comparisons import Comparisons
from biometric_core.schemas import Modality
from tests.support.report_world import with_columns, world

QUICK = Evaluation(bootstrap=40)
IRIS = Modality.IRIS


def looked_at(captures, comparisons, settings=QUICK):
    return differentials(comparisons, traits_of(comparisons, {IRIS: captures}), settings)


def test_each_share_is_that_of_the_drawn_subjects():
    _, found = world(5, impressions=2)
    threshold = float(np.median(found.scores))
    counted, hits = ~found.mated, found.scores >= threshold
    share = bootstrap.share(found, counted, hits, replicates=8, seed=3)
    assert share.value == pytest.approx(hits[counted].mean())
    names, n = np.unique(found.subjects).tolist(), 5
    for number, draw in enumerate(next(bootstrap._draws(n, 8, 3, n))):
        times = dict(zip(names, draw, strict=True))
        total = above = 0.0
        pairs = zip(found.subject_a, found.subject_b, counted, hits, strict=True)
        for a, b, is_counted, is_hit in pairs:
            weight = times[a] * (n - 1) / n if a == b else times[a] * times[b]
            total += weight * is_counted
            above += weight * (is_counted and is_hit)
        assert share.drawn[number] == pytest.approx(above / total, nan_ok=True)


def test_a_share_of_nothing_and_of_one_subject():
    _, found = world(4)
    none = np.zeros(len(found), bool)
    assert bootstrap.share(found, none, ~none, replicates=5, seed=0).value is None
    alone = Comparisons(
        np.ones(1), np.array([True]), np.array([0]), np.array([1]), *[np.array(["a", "a"])] * 2
    )
    found = bootstrap.share(alone, alone.mated, alone.mated, replicates=5, seed=0)
    assert found.interval(0.95) == bootstrap.Interval(1.0, None, None)


def test_groups_hold_both_sides_and_use_the_threshold_of_all():
    captures, found = world(16)
    threshold = error_rates.threshold_at_fmr(found.scores[~found.mated], 0.01)
    groups = looked_at(captures, found)
    assert set(groups["position"].groups) == {"left", "right"}
    assert set(groups["sex"].groups) == {"F", "M"}
    for kind, column in (("position", captures.position), ("sex", captures.sex)):
        for name, one in groups[kind].groups.items():
            both = (column[found.first] == name) & (column[found.second] == name)
            mated, scores = found.mated[both], found.scores[both]
            assert one["n_mated"] == mated.sum()
            assert one["n_non_mated"] == (~mated).sum()
            assert one["fnmr"] == pytest.approx((scores[mated] < threshold).mean())
            assert one["fmr"] == pytest.approx((scores[~mated] >= threshold).mean())
            assert one["eer"] == error_rates.eer(scores, mated)
            assert one["n_subjects"] == len(np.unique(captures.subject_id[column == name]))
            for rate in ("eer", "fnmr", "fmr"):
                low, high = one["intervals"][rate]
                assert low <= high


def test_a_group_that_is_worse_shows():
    captures, found = world(24, noise=0.5)
    left = captures.position == "left"
    harder = found.mated & left[found.first]
    worse = Comparisons(**{**vars(found), "scores": found.scores - 0.6 * harder})
    groups = looked_at(captures, worse)["position"].groups
    assert groups["left"]["intervals"]["fnmr"][0] > groups["right"]["intervals"]["fnmr"][1]


def test_what_the_data_cannot_tell_has_a_reason():
    captures, found = world(8, positions=1)
    silent = with_columns(captures, sex=np.array([""] * len(captures)))
    groups = looked_at(silent, found)
    assert groups["position"].groups is None
    assert "only 'left'" in groups["position"].reason
    assert groups["sex"].groups is None
    assert "source does not say" in groups["sex"].reason
    few_captures, few = world(3, positions=1)
    assert {one.reason for one in looked_at(few_captures, few).values()} == {NOT_CARRIED}


def test_a_group_of_one_subject_is_left_out_with_the_reason():
    captures, found = world(10)
    first = captures.subject_id == captures.subject_id[0]
    odd = with_columns(captures, sex=np.where(first, "F", "M"))
    told = looked_at(odd, found)["sex"]
    assert told.groups is None
    assert told.reason.startswith("F: too few subjects")


def test_visits_have_no_position_but_a_sex():
    captures, found = world(8)
    items = np.array([f"{name}#1" for name in found.items])
    visits = Comparisons(**{**vars(found), "items": items})
    traits = traits_of(visits, {IRIS: captures})
    assert traits.modality is None
    assert set(differentials(visits, traits, QUICK)) == {"sex"}
    assert (traits.sex == captures.sex).all()


def test_pooled_items_in_any_order_find_their_captures():
    captures, found = world(6)
    order = np.random.default_rng(0).permutation(len(captures))
    shuffled = captures.select(order)
    traits = traits_of(found, {IRIS: shuffled})
    assert traits.modality is IRIS
    assert (traits.position == captures.position).all()
    assert (traits.quality == captures.quality).all()
    assert (shuffled.capture_id[traits.row] == found.items).all()


def test_any_capture_says_a_subjects_sex_and_contradictions_say_nothing():
    captures, _ = world(3, positions=1, impressions=2)
    said = {"s000": ["", "F"], "s001": ["", ""], "s002": ["M", "F"]}
    sex = np.array([said[name].pop() for name in captures.subject_id])
    assert subject_sex({IRIS: with_columns(captures, sex=sex)}) == {"s000": "F"}


def test_within_keeps_the_items():
    _, found = world(4)
    member = found.subjects == found.subjects[0]
    inner = within(found, member)
    assert len(inner.items) == len(found.items)
    assert set(inner.subject_a) == set(inner.subject_b) == {found.subjects[0]}
