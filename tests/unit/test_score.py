"""Scores of a day and of the reference: who is compared with what, and that it stays so."""

from datetime import date, timedelta

import numpy as np
import pyarrow.compute as pc
import pytest
from drift_story import (
    CALM,
    PEOPLE,
    calm_day,
    column,
    failures,
    made_champion,
    system,
    with_settings,
)
from hypothesis import given
from hypothesis import strategies as st
from tiny_store import fill

from biometric_core import score as stage
from biometric_core.dataset import CaptureSet, from_columns, load_captures
from biometric_core.errors import ModelError
from biometric_core.schemas import Modality
from biometric_core.score import CURRENT, ENROLMENT_CAPTURES, REFERENCE, assign_roles, score
from biometric_core.splits import training_rows
from biometric_core.store import Store
from biometric_core.tracking.registry import load_recogniser

DAY = date(2026, 1, 5)


def _captures(rows: list[tuple[str, str, str, int]]) -> CaptureSet:
    """Rows of (subject, split, time, impression) of one left eye each."""
    subject, split, taken, impression = zip(*rows, strict=True)
    count = len(rows)
    pixels = np.zeros((count, 16, 16), np.uint8)
    columns = {
        "capture_id": [f"{i:03}" for i in range(count)],
        "subject_id": subject,
        "position": ["left"] * count,
        "sensor": ["default"] * count,
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
    assert probes.num_rows == result.probes + result.reference_probes

    recogniser, version = load_recogniser(config, "champion")
    assert set(probes["model_version"].to_pylist()) == {version}
    trained = dict(
        zip(probes["subject_id"].to_pylist(), probes["trained_on"].to_pylist(), strict=True)
    )
    assert {name for name, seen in trained.items() if seen} == set(recogniser.subjects)

    iris = load_captures(store, config)[Modality.IRIS]
    enrolled = (iris.subject_id == "s003") & (iris.impression <= ENROLMENT_CAPTURES)
    template = recogniser.embed_set(iris.select(enrolled)).mean(axis=0, keepdims=True)
    template /= np.linalg.norm(template)
    chosen = (pc.field("subject_id") == "s003") & (pc.field("modality") == "iris")
    for row in store.read("probes", filter=chosen).to_pylist():
        embedding = np.array([row["embedding"]], dtype=np.float32)
        own = recogniser.compare(Modality.IRIS, embedding, template)[0, 0]
        assert row["genuine_score"] == pytest.approx(float(own), abs=1e-4)
        np.testing.assert_allclose(row["residual"], (embedding - template)[0], atol=1e-5)
        assert np.isfinite(row["top_impostor_score"])


def test_scoring_again_adds_nothing(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    first = score(config, day=CALM)
    version = Store.of(config).version("probes")
    assert score(config, day=CALM) == first
    assert Store.of(config).version("probes") == version


def test_a_day_the_champion_was_trained_on_is_not_scored_by_it(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    after = stage.datetime(2026, 1, 6, tzinfo=stage.UTC)
    version = made_champion(config, as_of=after)
    result = score(config, day=CALM)
    assert (result.model_version, result.probes) == (version, 0)
    rows = Store.of(config).read("probes")
    assert set(column(rows, "window")) == {REFERENCE}
    # The reference is renewed: the reserved captures of training subjects are the latest ones.
    assert (column(rows, "day") == CALM).all()


def test_captures_that_came_in_after_training_are_probes_in_spite_of_their_date(tmp_path) -> None:
    config = system(tmp_path)
    late = date(2026, 1, 1)
    fill(config, subjects=PEOPLE, impressions=range(5, 6), day=stage.datetime(2026, 1, 1, 12))
    assert score(config, day=late).probes == 2 * PEOPLE


def test_one_capture_of_a_stranger_is_kept_apart(tmp_path) -> None:
    config = system(tmp_path)
    fill(
        config,
        subjects=PEOPLE + 1,
        impressions=range(5, 6),
        day=stage.datetime(2026, 1, 5, 12, tzinfo=stage.UTC),
    )
    score(config, day=CALM)
    rows = Store.of(config).read("probes", filter=pc.field("window") == CURRENT)
    stranger = rows.filter(pc.equal(rows["subject_id"], f"s{PEOPLE:03}")).to_pylist()
    assert [row["residual"] for row in stranger] == [None, None]
    assert [row["genuine_score"] for row in stranger] == [None, None]
    assert all(row["top_impostor_score"] is not None for row in stranger)


def test_failures_to_acquire_are_counted(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    failures(config, CALM, 7)
    assert score(config, day=CALM).failures == 7
    counts = {
        (c.modality, c.failed, c.captures)
        for c in stage.acquisition(Store.of(config), config, CALM)
    }
    assert counts == {("iris", 7, PEOPLE + 7), ("fingerprint", 0, PEOPLE)}


def test_a_day_without_captures_has_no_probes(tmp_path) -> None:
    config = system(tmp_path)
    result = score(config, day=CALM + timedelta(days=30))
    assert (result.probes, result.failures) == (0, 0)


def test_without_a_champion_there_is_a_clear_error(tmp_path) -> None:
    config = with_settings(system(tmp_path), "mlflow", model_name="nobody")
    with pytest.raises(ModelError, match="champion"):
        score(config, day=CALM)
