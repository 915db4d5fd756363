"""The daily verdict on a small real system: calm, alarm, refused, repeated."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.config import Monitoring
from biometric_core.history import drift_table
from biometric_core.history.drift_table import DAY as WHOLE_DAY
from biometric_core.history.drift_table import (
    FAILURE_RATE,
    MEASURES,
    TESTED,
    UNIDENTIFIED,
    read_rows,
)
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.loading import load_groups, window
from biometric_core.monitoring.scoring_model import scoring_model
from biometric_core.monitoring.verdicts import judge_day
from biometric_core.monitoring.windows import Attempts, Group, Span, Window
from biometric_core.schemas import TABLES
from biometric_core.stages.monitor import monitor
from biometric_core.stages.score import score
from biometric_core.storage.store import Store
from tests.support.drift_story import (
    CALM,
    CHANGED,
    PEOPLE,
    at,
    calm_day,
    changed_day,
    decide,
    failures,
    made_champion,
    system,
    with_settings,
)
from tests.support.tiny_store import fill


def _of(verdicts: list[dict], statistic: str, modality: str = "iris") -> dict:
    return next(v for v in verdicts if (v["modality"], v["statistic"]) == (modality, statistic))


def test_an_ordinary_day_is_calm_and_a_changed_sensor_alarms(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config)
    failures(config, CALM, 4)
    calm = monitor(config, day=CALM)
    assert not calm.alarm
    assert calm.p_value is not None
    assert calm.p_value >= config.monitoring.alpha
    assert (tmp_path / "data" / str(calm.report)).is_file()
    assert _of(calm.verdicts, FAILURE_RATE)["value"] == pytest.approx(4 / (PEOPLE + 3 * 6 + 4))
    assert _of(calm.verdicts, drift_table.POPULATION_T2)["subjects"] == 6
    assert _of(calm.verdicts, UNIDENTIFIED)["value"] == 0

    changed_day(config)
    changed = monitor(config, day=CHANGED)
    assert changed.alarm
    tested = drift_table.tested(changed.verdicts)
    assert changed.p_value == min(v["p_value"] for v in tested)
    assert {v["statistic"] for v in changed.verdicts} >= set(TESTED)
    assert "since 2026-01-07" in changed.reason
    assert changed.p_value < config.monitoring.alpha
    assert _of(changed.verdicts, drift_table.REJECTION_SHIFT)["value"] > 0.5

    again = monitor(config, day=CHANGED)
    assert again == replace(changed, reused=True)
    assert Store.of(config).version("drift") == 2  # version 0 is the empty table

    # Another champion does not change what was found on the day.
    made_champion(config, as_of=at(CHANGED) + timedelta(days=1))
    assert monitor(config, day=CHANGED) == again


def test_judging_again_replaces_the_verdict_of_the_day_and_keeps_it(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    first = monitor(config, day=CALM)
    stricter = with_settings(config, "monitoring", min_subjects=PEOPLE + 1)
    forced = monitor(stricter, day=CALM, force=True)
    assert forced.p_value is None
    assert not forced.reused
    assert (forced.before, forced.verdict) == (first.verdict, "not_enough_subjects")
    assert len(read_rows(Store.of(config))) == len(forced.verdicts)
    again = monitor(config, day=CALM, force=True)
    assert again.verdicts == first.verdicts
    rows = read_rows(Store.of(config), every=True)
    assert len(rows) == sum(len(one.verdicts) for one in (first, forced, again))
    assert {row["revision"] for row in rows} == {1, 2, 3}


def test_a_day_without_captures_has_no_verdict_and_stays_open(tmp_path) -> None:
    config = system(tmp_path)
    result = monitor(config, day=CALM)
    assert (result.alarm, result.p_value, result.report, result.verdicts) == (False, None, None, [])
    calm_day(config, newcomers=0)
    assert monitor(config, day=CALM).p_value is not None


def test_a_new_sensor_is_compared_with_the_known_ones(tmp_path) -> None:
    config = system(tmp_path)
    fill(config, subjects=PEOPLE, impressions=range(5, 6), day=at(CALM), sensor="other")
    score(config, day=CALM)
    store = Store.of(config)
    groups = load_groups(store, config, CALM, scoring_model(config, store, CALM))
    sizes = [(len(g.reference.claims), len(g.today.claims)) for g in groups]
    assert [g.sensor for g in groups] == ["other"] * 2
    assert sizes == [(PEOPLE, PEOPLE)] * 2
    assert [len(g.reference.attempts) for g in groups] == [4 * PEOPLE] * 2


def test_unidentified_probes_are_no_part_of_a_window() -> None:
    row = dict.fromkeys(TABLES["probes"].names) | {
        "subject_id": "a",
        "modality": "iris",
        "position": "left",
        "embedding": [0.0, 1.0],
        "quality": 0.5,
        "trained_on": False,
        "day": CALM,
    }
    known = {"capture_id": "1", "residual": [0.25, -0.5], "genuine_score": 2.0}
    row |= dict.fromkeys(("sharpness", "contrast", "brightness"), 1.0)
    schema = pa.schema([*TABLES["probes"], *(pa.field(m, pa.float32()) for m in MEASURES[1:])])
    rows = [row | {"capture_id": "0"}, row | known]
    probes = pa.Table.from_pylist(rows, schema=schema)
    found = window(probes, CALM)
    assert found.identity.tolist() == ["a/iris/left"]
    np.testing.assert_allclose(found.template, [[-0.25, 1.5]])
    np.testing.assert_allclose(found.measures, [[0.5, 0.0, 1.0, 1.0]])
    assert len(window(probes.slice(0, 0), CALM)) == 0
    older = window(probes, CALM + timedelta(days=2), decay=0.5)
    np.testing.assert_allclose(older.weight, [0.25])


def _window(rng: np.random.Generator, subjects: int, shift: float = 0.0) -> Window:
    names = np.array([f"s{i}" for i in range(subjects)])
    return Window(
        subject=names,
        identity=names,
        trained_on=np.zeros(subjects, bool),
        weight=np.ones(subjects),
        residual=rng.normal(size=(subjects, 4)) + shift,
        template=rng.normal(size=(subjects, 4)),
        genuine=rng.normal(size=subjects),
        measures=rng.uniform(size=(subjects, len(MEASURES))),
    )


def _attempts(subjects: int) -> Attempts:
    names = np.array([f"s{i}" for i in range(subjects)])
    return Attempts(names, names, np.zeros(subjects, bool), np.ones(subjects), np.zeros(subjects))


def _group(seed: int, subjects: int, shift: float = 0.0, sensor: str = "default") -> Group:
    rng = np.random.default_rng(seed)
    before, now = (Span(_window(rng, subjects, s), _attempts(subjects)) for s in (0.0, shift))
    return Group("iris", sensor, before, now)


SETTINGS = Monitoring(permutations=199)
DAY = date(2026, 1, 5)


def test_too_few_subjects_are_refused_even_when_they_moved_far() -> None:
    verdicts = judge_day([_group(0, 7, shift=50.0)], SETTINGS, DAY)
    tested = [v for v in verdicts if v.statistic in TESTED]
    assert {v.verdict for v in tested} == {"not_enough_subjects"}
    assert {(v.value, v.p_value) for v in tested} == {(None, None)}
    assert {v.subjects for v in tested} == {7}


def test_subjects_that_could_never_alarm_are_refused() -> None:
    # Eight pairs have 2 / 256 as their smallest p-value: above 0.01 after correction.
    verdicts = judge_day([_group(0, 8, shift=50.0)], SETTINGS, DAY)
    assert {v.verdict for v in verdicts if v.statistic in TESTED} == {"not_enough_subjects"}


def test_many_sensors_leave_an_alarm_possible() -> None:
    groups = [_group(i, 20, sensor=f"sensor {i}") for i in range(9)]
    groups.append(_group(99, 20, shift=3.0, sensor="moved"))
    verdicts = judge_day(groups, SETTINGS, DAY)
    alarms = {(v.sensor, v.statistic) for v in verdicts if v.verdict == "alarm"}
    assert alarms == {("moved", drift_table.RESIDUAL_T2)}


def test_information_never_alarms() -> None:
    group = _group(1, 30)
    probes = replace(group.today.probes, template=group.today.probes.template + 9)
    strangers = np.char.add("new ", probes.subject)
    probes = replace(probes, subject=strangers, identity=strangers)
    verdicts = judge_day([replace(group, today=replace(group.today, probes=probes))], SETTINGS, DAY)
    other = next(v for v in verdicts if v.statistic == drift_table.POPULATION_T2)
    assert other.p_value is not None
    assert other.p_value < 0.01
    assert other.verdict == "information"
    assert not any(v.verdict == "alarm" for v in verdicts)


def test_a_sensor_that_delivers_nothing_usable_alarms_by_its_failures(tmp_path) -> None:
    config = system(tmp_path)
    failures(config, CALM, 30)
    result = monitor(config, day=CALM)
    outcome = {v["statistic"]: v["verdict"] for v in result.verdicts}
    assert outcome[drift_table.FAILURE_SHIFT] == "alarm"
    assert (
        outcome[drift_table.RESIDUAL_T2] == outcome[drift_table.QUALITY_T2] == "not_enough_subjects"
    )
    assert result.alarm
    assert _of(result.verdicts, FAILURE_RATE)["value"] == 1.0
    stored = Store.of(config).read("drift", filter=pc.field("statistic") == FAILURE_RATE)
    assert stored["value"].to_pylist() == [1.0]


def test_a_standing_alarm_is_not_told_again_until_the_cooldown_is_over(tmp_path) -> None:
    config = with_settings(system(tmp_path), "monitoring", cooldown_days=2)
    found = []
    for offset in range(3):
        day = CHANGED + timedelta(days=offset)
        changed_day(config, day=day, impression=6 + offset)
        found.append(monitor(config, day=day))
    assert [result.verdict for result in found] == ["alarm", "standing", "alarm"]
    assert [result.alarm for result in found] == [True, False, True]
    assert all("since 2026-01-07" in result.reason for result in found)


def test_a_verdict_from_before_days_as_a_whole_were_kept_is_read(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config)
    fresh = monitor(config, day=CALM)
    Store.of(config).delete("drift", f"statistic = '{WHOLE_DAY}'")
    assert monitor(config, day=CALM) == replace(fresh, reused=True)


@pytest.mark.parametrize("came", ["before the promotion", "after it"])
def test_a_backfilled_day_gets_the_verdict_that_it_would_have_had(tmp_path, came) -> None:
    on_time, late = (system(tmp_path / name) for name in ("on_time", "late"))

    def captures(config) -> None:
        calm_day(config)
        changed_day(config)

    for config in (on_time, late):
        decide(config, "promoted", None, challenger="1")
        fill(config, subjects=8, impressions=range(9, 10), day=at(CALM - timedelta(days=2)))
    captures(on_time)
    if came == "before the promotion":
        captures(late)
    first = [monitor(on_time, day=day) for day in (CALM, CHANGED)]
    version = made_champion(late, as_of=at(CHANGED) + timedelta(days=1))
    assert version == "2"
    decide(late, "promoted", CHANGED, challenger=version)
    if came == "after it":  # whatever the new champion was trained on, it has not served then
        captures(late)
    assert [monitor(late, day=day) for day in (CALM, CHANGED)] == first


def test_without_a_reference_no_day_is_calm() -> None:
    group = _group(0, 30)
    reference = Span(_window(np.random.default_rng(1), 0), group.reference.attempts)
    verdicts = judge_day([replace(group, reference=reference)], SETTINGS, DAY)
    tested = {v.statistic: v.verdict for v in verdicts if v.statistic in TESTED}
    assert {tested[name] for name in ("residual_t2", "genuine_shift", "quality_t2")} == {
        "not_enough_subjects"
    }
    said = day_alarm(verdicts, [], SETTINGS, DAY)
    assert said.verdict == "partly_tested", "what fails can be told"
    assert "residual_t2" in said.reason
    failed = replace(group.today.attempts, failed=np.ones(30))
    failing = replace(group, reference=reference, today=Span(group.today.probes, failed))
    verdicts = judge_day([failing], SETTINGS, DAY)
    assert day_alarm(verdicts, [], SETTINGS, DAY).verdict == "alarm"
    nothing = Span(reference.probes, group.reference.attempts.take(np.zeros(0, int)))
    verdicts = judge_day([replace(group, reference=nothing)], SETTINGS, DAY)
    assert day_alarm(verdicts, [], SETTINGS, DAY).verdict == "not_enough_subjects"
