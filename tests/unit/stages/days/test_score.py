"""Scores of a day and of the reference: who is compared with what, and that it stays so."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.data.capture_sets import CaptureSet, from_columns, load_captures
from biometric_core.data.splits import training_rows
from biometric_core.errors import ModelError
from biometric_core.history.changes import Change
from biometric_core.monitoring.roles import ENROLMENT_CAPTURES, assign_roles
from biometric_core.monitoring.windows import CURRENT, ENROLLED, REFERENCE
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality, Sample
from biometric_core.stages.score import score
from biometric_core.storage.store import Store
from biometric_core.tracking.registry import load_recogniser
from tests.support.drift_story import (
    CALM,
    PEOPLE,
    calm_day,
    column,
    decide,
    made_champion,
    system,
    with_settings,
)
from tests.support.tiny_store import fill

DAY = date(2026, 1, 5)


def _captures(
    rows: list[tuple[str, str, str, int]], sensors: Sequence[str] | None = None
) -> CaptureSet:
    """Rows of (subject, split, time, impression) of one left eye each."""
    subject, split, taken, impression = zip(*rows, strict=True)
    count = len(rows)
    pixels = np.zeros((count, 16, 16), np.uint8)
    columns = {
        "capture_id": [f"{i:03}" for i in range(count)],
        "subject_id": subject,
        "position": ["left"] * count,
        "sensor": sensors or ["default"] * count,
        "split": split,
        "impression": impression,
        "captured_at": taken,
    }
    return from_columns(Modality.IRIS, columns, pixels, pixels, np.ones(count, np.float32))


def _eye(subject: str, split: str, times: list[str]) -> list[tuple[str, str, str, int]]:
    return [(subject, split, time, number) for number, time in enumerate(times, start=1)]


def _known(captures: CaptureSet) -> np.ndarray:
    return captures.captured_at < np.datetime64("2026-01-04")


OLD, NOW = "2026-01-01T09", "2026-01-05T09"


def test_a_training_subject_is_probed_with_its_reserved_capture_and_nothing_else() -> None:
    captures = _captures(_eye("a", "train", [OLD, OLD, OLD, NOW]))
    roles = assign_roles(captures, _known(captures), DAY)
    assert roles.reference.tolist() == [2]
    assert roles.gallery_reference.tolist() == roles.gallery_current.tolist() == [0, 1]
    assert roles.current.tolist() == [3]


def test_a_test_subject_is_probed_with_its_latest_capture() -> None:
    captures = _captures(_eye("a", "test", [OLD, OLD, OLD, NOW]))
    roles = assign_roles(captures, _known(captures), DAY)
    assert (roles.reference.tolist(), roles.gallery_reference.tolist()) == ([2], [0, 1])


def test_a_template_of_too_few_captures_is_none() -> None:
    captures = _captures(_eye("a", "test", [OLD, OLD, NOW]))
    roles = assign_roles(captures, _known(captures), DAY)
    assert (roles.gallery_reference.tolist(), roles.gallery_current.tolist()) == ([], [])


def test_later_captures_never_improve_the_template_of_a_known_identity() -> None:
    captures = _captures(_eye("a", "test", [OLD, OLD, OLD, "2026-01-04T09", NOW]))
    roles = assign_roles(captures, _known(captures), DAY)
    assert roles.gallery_current.tolist() == [0, 1]
    assert roles.current.tolist() == [4]


@pytest.mark.parametrize(("captures", "enrolled"), [(1, 0), (2, 0), (3, 2), (5, 2)])
def test_somebody_new_is_enrolled_with_the_first_captures(captures: int, enrolled: int) -> None:
    found = _captures(_eye("new", "train", [NOW] * captures))
    roles = assign_roles(found, _known(found), DAY)
    assert roles.gallery_current.tolist() == list(range(enrolled))
    assert roles.current.tolist() == list(range(enrolled, captures))
    assert roles.new_identities == min(enrolled, 1)


def test_who_came_new_yesterday_is_enrolled_today() -> None:
    captures = _captures(_eye("new", "train", ["2026-01-04T09"] * 3 + [NOW]))
    roles = assign_roles(captures, _known(captures), DAY)
    assert roles.gallery_current.tolist() == [0, 1]
    assert roles.current.tolist() == [3]
    assert roles.new_identities == 0


_TIMES = st.sampled_from([OLD, "2026-01-02T09", "2026-01-04T09", NOW, "2026-01-06T09"])
_EYES = st.lists(
    st.tuples(
        st.sampled_from(["train", "validation", "test"]), st.lists(_TIMES, min_size=1, max_size=7)
    ),
    min_size=1,
    max_size=6,
)


@given(_EYES)
def test_no_capture_is_enrolled_and_probed_nor_probed_and_trained_on(
    eyes: list[tuple[str, list[str]]],
) -> None:
    rows = [r for i, (split, times) in enumerate(eyes) for r in _eye(str(i), split, sorted(times))]
    captures = _captures(rows)
    known = _known(captures)
    roles = assign_roles(captures, known, DAY)
    for probes, gallery in (
        (roles.reference, roles.gallery_reference),
        (roles.current, roles.gallery_current),
    ):
        assert not set(probes.tolist()) & set(gallery.tolist())
        _, sizes = np.unique(captures.subject_id[gallery], return_counts=True)
        assert (sizes == ENROLMENT_CAPTURES).all()
    trained = np.flatnonzero(known)[training_rows(captures.select(known))]
    assert not set(trained.tolist()) & {*roles.reference.tolist(), *roles.current.tolist()}
    days = captures.captured_at[roles.current].astype("datetime64[D]")
    assert (days == np.datetime64(DAY)).all()
    # Both windows of a known identity meet the same template.
    shared = np.isin(captures.subject_id, captures.subject_id[roles.gallery_reference])
    now = [row for row in roles.gallery_current.tolist() if shared[row]]
    assert now == roles.gallery_reference.tolist()


def test_scores_are_those_of_the_recogniser(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config)
    result = score(config, day=CALM)
    store = Store.of(config)
    probes = store.read("probes")
    # 40 known people once, six newcomers with three captures of which two are enrolled.
    assert result.probes == 2 * (PEOPLE + 6)
    assert result.new_identities == 2 * 6
    assert result.reference_probes == 2 * PEOPLE
    enrolled = ENROLMENT_CAPTURES * (result.reference_probes + result.new_identities)
    assert probes.num_rows == result.probes + result.reference_probes + enrolled

    recogniser, version = load_recogniser(config, "champion")
    assert set(probes["model_version"].to_pylist()) == {version}
    trained = dict(
        zip(probes["subject_id"].to_pylist(), probes["trained_on"].to_pylist(), strict=True)
    )
    assert {name for name, seen in trained.items() if seen} == set(recogniser.subjects)

    for modality in (Modality.IRIS, Modality.FINGERPRINT):
        captures = load_captures(store, config)[modality]
        enrolled = captures.select(
            (captures.subject_id == "s003") & (captures.impression <= ENROLMENT_CAPTURES)
        )
        template = recogniser.embed_set(enrolled).mean(axis=0)
        template /= np.linalg.norm(template)
        chosen = (pc.field("subject_id") == "s003") & (pc.field("modality") == modality.value)
        rows = store.read("probes", filter=chosen & (pc.field("window") != ENROLLED)).to_pylist()
        assert rows
        for row in rows:
            probe = captures.select(captures.capture_id == row["capture_id"])
            ratios = recogniser.compare_samples(modality, _samples(probe), _samples(enrolled))
            assert row["genuine_score"] == pytest.approx(float(ratios.mean()), abs=1e-3)
            expected = np.array(row["embedding"], dtype=np.float32) - template
            np.testing.assert_allclose(row["residual"], expected, atol=1e-5)
            assert np.isfinite(row["top_impostor_score"])
            assert row["threshold"] == recogniser.claim_threshold(modality)


def _samples(captures: CaptureSet) -> list[Sample]:
    pairs = zip(captures.images, captures.masks, strict=True)
    return [Sample(np.asarray(image), np.asarray(mask)) for image, mask in pairs]


def test_scoring_again_adds_nothing(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    first = score(config, day=CALM)
    version = Store.of(config).version("probes")
    assert score(config, day=CALM) == first
    assert Store.of(config).version("probes") == version


def test_a_day_the_champion_was_trained_on_is_scored_by_nobody_without_an_earlier_one(
    tmp_path,
) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    version = made_champion(config, as_of=datetime(2026, 1, 6, tzinfo=UTC))
    result = score(config, day=CALM)
    assert (result.model_version, result.probes) == (version, 0)
    rows = Store.of(config).read("probes", filter=pc.field("window") == REFERENCE)
    # The reference is renewed; the other half of the training subjects is reserved one before.
    assert 0.6 < (column(rows, "day") == CALM).mean() < 1


def test_a_day_the_champion_was_trained_on_is_scored_by_the_one_before(tmp_path) -> None:
    config = system(tmp_path)
    decide(config, "promoted", None, challenger="1")
    calm_day(config, newcomers=0)
    on_time = score(config, day=CALM)
    version = made_champion(config, as_of=datetime(2026, 1, 6, tzinfo=UTC))
    decide(config, "promoted", CALM, challenger=version)
    assert score(config, day=CALM) == on_time
    assert score(config, day=CALM + timedelta(days=1)).model_version == version


def test_embeddings_of_enrolled_captures_are_made_once(tmp_path, monkeypatch) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    score(config, day=CALM)
    fill(config, subjects=3, impressions=range(7, 8), day=datetime(2026, 1, 6, 12, tzinfo=UTC))
    embedded = []
    real = Recogniser.embed_set
    monkeypatch.setattr(
        Recogniser, "embed_set", lambda self, sets: embedded.append(len(sets)) or real(self, sets)
    )
    assert score(config, day=CALM + timedelta(days=1)).probes == 2 * 3
    assert embedded == [3, 3]


def test_after_an_answered_drift_the_reference_begins_on_its_day() -> None:
    old, later = "2026-01-01T09", "2026-01-04T09"
    rows = _eye("a", "test", [old, old, old, later]) + _eye("b", "test", [old, old, old, NOW])
    captures = _captures(rows)
    known = captures.captured_at < np.datetime64("2026-01-05")
    everything = assign_roles(captures, known, DAY)
    assert everything.reference.tolist() == [3, 6]
    answered = [Change(date(2026, 1, 4))]
    renewed = assign_roles(captures, known, DAY, answered=answered)
    assert renewed.reference.tolist() == [3]
    too_few = assign_roles(captures, known, DAY, answered=answered, enough=2)
    assert too_few.reference.tolist() == [3, 6]


def test_the_reference_of_a_sensor_that_has_not_moved_is_not_renewed() -> None:
    doors = ("door-3", "door-4", "door-5")
    eyes = [_eye(door, "test", [OLD, OLD, "2026-01-03T09"]) for door in doors]
    captures = _captures([row for eye in eyes for row in eye], np.repeat(doors, 3).tolist())
    moved = [Change.of(date(2026, 1, 4), [("iris", "door-3"), ("fingerprint", "door-4")])]
    earlier = Change.of(date(2026, 1, 2), [("iris", "door-4")])
    later = Change.of(date(2026, 1, 4), [("iris", "door-5")])
    for answered, expected in (
        ([], [2, 5, 8]),
        (moved, [5, 8]),
        ([earlier], [2, 5, 8]),
        ([*moved, earlier, later], [5]),
        ([*moved, Change(date(2026, 1, 2))], [5, 8]),
        ([Change(date(2026, 1, 4)), earlier], []),
    ):
        roles = assign_roles(captures, _known(captures), DAY, answered=answered, enough=0)
        assert roles.reference.tolist() == expected


def test_a_sensor_that_too_few_renewed_captures_are_of_keeps_its_reference() -> None:
    doors = ("door-3", "door-4")
    eyes = [_eye(door, "test", [OLD, OLD, "2026-01-03T09"]) for door in doors]
    captures = _captures([row for eye in eyes for row in eye], np.repeat(doors, 3).tolist())
    answered = [Change.of(date(2026, 1, 4), [("iris", "door-3")])]
    roles = assign_roles(captures, _known(captures), DAY, answered=answered, enough=1)
    assert roles.reference.tolist() == [2, 5]  # those of the other door don't count for it


def test_captures_that_came_in_after_training_are_probes_in_spite_of_their_date(tmp_path) -> None:
    config = system(tmp_path)
    late = date(2026, 1, 1)
    fill(config, subjects=PEOPLE, impressions=range(5, 6), day=datetime(2026, 1, 1, 12))
    assert score(config, day=late).probes == 2 * PEOPLE


def test_one_capture_of_a_stranger_is_kept_apart(tmp_path) -> None:
    config = system(tmp_path)
    fill(
        config,
        subjects=PEOPLE + 1,
        impressions=range(5, 6),
        day=datetime(2026, 1, 5, 12, tzinfo=UTC),
    )
    score(config, day=CALM)
    rows = Store.of(config).read("probes", filter=pc.field("window") == CURRENT)
    stranger = rows.filter(pc.equal(rows["subject_id"], f"s{PEOPLE:03}")).to_pylist()
    assert [row["residual"] for row in stranger] == [None, None]
    assert [row["genuine_score"] for row in stranger] == [None, None]
    assert all(row["top_impostor_score"] is not None for row in stranger)


def test_a_day_without_captures_has_no_probes(tmp_path) -> None:
    config = system(tmp_path)
    result = score(config, day=CALM + timedelta(days=30))
    assert result.probes == 0


def test_without_a_champion_there_is_a_clear_error(tmp_path) -> None:
    config = with_settings(system(tmp_path), "mlflow", model_name="nobody")
    with pytest.raises(ModelError, match="champion"):
        score(config, day=CALM)
