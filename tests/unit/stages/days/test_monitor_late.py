"""Captures that come after the verdict on their day: it is judged again, and nobody misses it."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.config import Config
from biometric_core.history.drift_table import read_rows
from biometric_core.monitoring.windows import CURRENT
from biometric_core.schemas import start_of
from biometric_core.stages.monitor import monitor
from biometric_core.stages.plan_retraining import plan_retraining
from biometric_core.stages.status import status
from biometric_core.storage.store import Store
from biometric_core.tracking.registry import recogniser_folder
from tests.support.drift_story import (
    CALM,
    PEOPLE,
    at,
    calm_day,
    changed_day,
    decide,
    made_champion,
    system,
    with_settings,
)
from tests.support.tiny_store import fill

NEXT, THIRD = CALM + timedelta(days=1), CALM + timedelta(days=2)
pytestmark = pytest.mark.slow


def verdicts(config: Config) -> list[tuple[date, int, str]]:
    """All verdicts on days on record, with their revision."""
    rows = read_rows(Store.of(config), every=True)
    return sorted(
        (row["day"], row["revision"], row["verdict"]) for row in rows if row["statistic"] == "day"
    )


@pytest.fixture
def judged(tmp_path) -> Config:
    """Two ordinary days with their verdicts."""
    config = system(tmp_path)
    for impression, day in enumerate((CALM, NEXT), start=5):
        calm_day(config, day=day, impression=impression, newcomers=0)
        assert monitor(config, day=day).verdict == "calm"
    return config


def test_a_changed_sensor_in_late_captures_is_told_by_the_next_run(judged: Config, caplog) -> None:
    changed_day(judged, day=CALM, impression=8)
    calm_day(judged, day=THIRD, impression=7, newcomers=0)
    result = monitor(judged, day=THIRD)
    (late,) = result.late
    assert (late["day"], late["verdict"], late["before"]) == (CALM.isoformat(), "alarm", "calm")
    assert late["alarm"]
    assert f"{CALM}: alarm (it was calm)" in caplog.text
    # The day between keeps its verdict, and both of the day that was judged again are on record.
    first, again = [row for row in verdicts(judged) if row[0] == CALM]
    assert (first, again) == ((CALM, 1, "calm"), (CALM, 2, "alarm"))
    assert [row for row in verdicts(judged) if row[0] == NEXT] == [(NEXT, 1, "calm")]
    chosen = (pc.field("window") == CURRENT) & (pc.field("day") == CALM)
    assert Store.of(judged).read("probes", filter=chosen).num_rows == 2 * 2 * PEOPLE

    page = (Path(judged.storage.root) / late["report"]).read_text()
    assert "replaces the verdict calm, judged " in page
    (replaced,) = status(judged)["replaced"]
    assert (replaced["day"], replaced["verdict"], replaced["before"]) == (
        CALM.isoformat(),
        "alarm",
        "calm",
    )
    assert "no drift alarm" not in plan_retraining(judged, trigger="asset").reason

    # A run that was cut short and is done again tells the same; later ones have nothing to tell.
    assert monitor(judged, day=THIRD).late == result.late
    assert monitor(judged, day=THIRD + timedelta(days=1)).late == []
    assert len(verdicts(judged)) == 4


def test_the_day_itself_is_judged_again_when_its_captures_have_changed(judged: Config) -> None:
    before = verdicts(judged)
    assert monitor(judged, day=NEXT).reused
    changed_day(judged, day=NEXT, impression=8)
    again = monitor(judged, day=NEXT)
    assert (again.reused, again.verdict, again.before) == (False, "alarm", "calm")
    assert verdicts(judged) == [*before, (NEXT, 2, "alarm")]


def test_older_days_are_left_alone(judged: Config) -> None:
    changed_day(judged, day=CALM, impression=8)
    near = with_settings(judged, "monitoring", late_days=1)
    assert monitor(near, day=THIRD).late == []
    never = with_settings(judged, "monitoring", late_days=0)
    assert monitor(never, day=NEXT).late == []
    assert {revision for _, revision, _ in verdicts(judged)} == {1}


def test_a_day_that_nobody_judged_gets_its_verdict(tmp_path) -> None:
    config = system(tmp_path)
    changed_day(config, day=CALM, impression=5)
    calm_day(config, day=NEXT, impression=6, newcomers=0)
    (late,) = monitor(config, day=NEXT).late
    assert (late["day"], late["verdict"], late["before"]) == (CALM.isoformat(), "alarm", None)
    assert late["alarm"]


def test_a_verdict_from_before_digests_stays(judged: Config) -> None:
    store = Store.of(judged)
    rows = store.read("drift")
    for name in ("captures_digest", "judged_at", "revision", "run_day"):
        place = rows.schema.get_field_index(name)
        none = [None] * rows.num_rows
        column = pa.array(none, rows.schema.field(name).type)
        rows = rows.set_column(place, rows.schema.field(name), column)
    store.replace("drift", rows, "true")
    changed_day(judged, day=CALM, impression=8)
    assert monitor(judged, day=THIRD).late == []
    forced = monitor(judged, day=CALM, force=True)
    assert (forced.verdict, forced.before) == ("alarm", "calm")
    assert {row["revision"] for row in read_rows(store, CALM, CALM)} == {2}


def test_a_late_day_that_cannot_be_judged_does_not_blind_the_day(tmp_path) -> None:
    config = system(tmp_path)
    decide(config, "promoted", None, challenger="1")
    calm_day(config, newcomers=0)
    version = made_champion(config, as_of=start_of(NEXT))
    decide(config, "promoted", CALM, challenger=version)
    changed_day(config, day=NEXT)
    bundle, _ = recogniser_folder(config, "1")  # of the model that judges the late day
    bundle.rename(bundle.with_name("elsewhere"))
    try:
        result = monitor(config, day=NEXT)
    finally:
        bundle.with_name("elsewhere").rename(bundle)
    assert result.verdicts
    (late,) = result.late
    assert (late["day"], late["verdict"], late["alarm"]) == (CALM.isoformat(), None, False)
    assert late["reason"]


def test_captures_of_a_training_source_are_no_part_of_a_day(tmp_path) -> None:
    config = system(tmp_path)
    span = range(6, 7)
    fill(config, subjects=PEOPLE, impressions=span, day=at(CALM), noise=160.0, source="folder")
    nothing = monitor(config, day=CALM)
    assert (nothing.verdicts, nothing.report, nothing.verdict) == ([], None, "not_enough_subjects")
    assert "no captures came through the inbox on this day" in nothing.reason
    assert f"{2 * PEOPLE} of a training source are not watched" in nothing.reason
    assert "`biometric ingest --kind inbox`" in nothing.reason

    calm_day(config, newcomers=0)
    watched = monitor(config, day=CALM)
    assert watched.verdict == "calm"
    probes = Store.of(config).read("probes", filter=pc.field("window") == CURRENT)
    assert probes.num_rows == 2 * PEOPLE
    shares = [v["value"] for v in watched.verdicts if v["statistic"] == "failure_rate"]
    assert shares == [0.0, 0.0]
    # Nor do they belong to the recent days of the next one.
    calm_day(config, day=NEXT, impression=7, newcomers=0)
    following = monitor(config, day=NEXT)
    assert (following.verdict, following.late) == ("calm", [])


def test_people_of_a_training_source_are_enrolled_from_the_next_day_on(tmp_path) -> None:
    config = system(tmp_path)
    fill(config, subjects=PEOPLE + 8, impressions=range(1, 4), day=at(CALM), source="generator")
    fill(config, subjects=PEOPLE + 8, impressions=range(5, 6), day=at(NEXT))
    monitor(config, day=NEXT)
    rows = Store.of(config).read("probes", filter=pc.field("window") == CURRENT)
    assert rows.num_rows == 2 * (PEOPLE + 8)
    assert rows["residual"].null_count == 0
