"""The daily verdict on a small real system: calm, alarm, refused, repeated."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from drift_story import (
    CALM,
    CHANGED,
    PEOPLE,
    at,
    calm_day,
    changed_day,
    failures,
    made_champion,
    system,
    with_settings,
)
from tiny_store import fill

from biometric_core import drift
from biometric_core.config import Monitoring
from biometric_core.drift import Window
from biometric_core.monitor import load_groups, monitor, window
from biometric_core.schemas import TABLES
from biometric_core.score import score
from biometric_core.store import Store
from biometric_core.verdicts import FAILURE_RATE, QUALITY, TESTED, UNIDENTIFIED, Group, judge


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
    assert _of(calm.verdicts, drift.POPULATION_T2)["subjects"] == 6
    assert _of(calm.verdicts, UNIDENTIFIED)["value"] == 0

    changed_day(config)
    changed = monitor(config, day=CHANGED)
    assert changed.alarm
    assert changed.p_value == min(
        _of(changed.verdicts, name, m)["p_value"]
        for name in TESTED
        for m in ("iris", "fingerprint")
    )
    assert changed.p_value < config.monitoring.alpha
    assert _of(changed.verdicts, drift.GENUINE_SHIFT)["value"] < 0

    again = monitor(config, day=CHANGED)
    assert again == replace(changed, reused=True)
    assert Store.of(config).version("drift") == 1

    # Another champion does not change what was found on the day.
    made_champion(config, as_of=at(CHANGED) + timedelta(days=1))
    assert monitor(config, day=CHANGED) == again


def test_judging_again_replaces_the_rows_of_the_day(tmp_path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    first = monitor(config, day=CALM)
    stricter = with_settings(config, "monitoring", min_subjects=PEOPLE + 1)
    forced = monitor(stricter, day=CALM, force=True)
    assert forced.p_value is None
    assert not forced.reused
    assert Store.of(config).read("drift").num_rows == len(forced.verdicts)
    assert monitor(config, day=CALM, force=True).verdicts == first.verdicts


def test_a_day_without_captures_has_no_verdict_and_stays_open(tmp_path) -> None:
    config = system(tmp_path)
    result = monitor(config, day=CALM)
    assert (result.alarm, result.p_value, result.report, result.verdicts) == (False, None, None, [])
    calm_day(config, newcomers=0)
    assert monitor(config, day=CALM).p_value is not None


def test_a_new_sensor_is_compared_with_the_known_ones(tmp_path) -> None:
    config = system(tmp_path)
    fill(config, subjects=PEOPLE, impressions=range(5, 6), day=at(CALM), sensor="other")
    version = score(config, day=CALM).model_version
    groups = load_groups(Store.of(config), config, CALM, version)
    assert [(g.sensor, len(g.reference), len(g.current)) for g in groups] == [
        ("other", PEOPLE, PEOPLE)
    ] * 2


def test_unidentified_probes_are_no_part_of_a_window() -> None:
    row = dict.fromkeys(TABLES["probes"].names) | {
        "subject_id": "a",
        "modality": "iris",
        "position": "left",
        "embedding": [0.0, 1.0],
        "quality": 0.5,
        "trained_on": False,
    }
    known = row | {"capture_id": "1", "residual": [0.25, -0.5], "genuine_score": 2.0}
    probes = pa.Table.from_pylist([row | {"capture_id": "0"}, known], schema=TABLES["probes"])
    found = window(probes)
    assert found.identity.tolist() == ["a/iris/left"]
    np.testing.assert_allclose(found.template, [[-0.25, 1.5]])
    assert len(window(probes.slice(0, 0))) == 0


def _window(rng: np.random.Generator, subjects: int, shift: float = 0.0) -> Window:
    names = np.array([f"s{i}" for i in range(subjects)])
    return Window(
        subject=names,
        identity=names,
        trained_on=np.zeros(subjects, bool),
        residual=rng.normal(size=(subjects, 4)) + shift,
        template=rng.normal(size=(subjects, 4)),
        genuine=rng.normal(size=subjects),
        quality=rng.uniform(size=subjects),
    )


def _group(seed: int, subjects: int, shift: float = 0.0, sensor: str = "default") -> Group:
    rng = np.random.default_rng(seed)
    return Group("iris", sensor, _window(rng, subjects), _window(rng, subjects, shift))


SETTINGS = Monitoring(permutations=199)
DAY = date(2026, 1, 5)


def test_too_few_subjects_are_refused_even_when_they_moved_far() -> None:
    verdicts = judge([_group(0, 7, shift=50.0)], SETTINGS, DAY)
    tested = [v for v in verdicts if v.statistic in TESTED]
    assert {v.verdict for v in tested} == {"not_enough_subjects"}
    assert {(v.value, v.p_value) for v in tested} == {(None, None)}
    assert {v.subjects for v in tested} == {7}


def test_subjects_that_could_never_alarm_are_refused() -> None:
    # Eight pairs have 2 / 256 as their smallest p-value: above 0.01 after correction.
    verdicts = judge([_group(0, 8, shift=50.0)], SETTINGS, DAY)
    assert {v.verdict for v in verdicts if v.statistic in TESTED} == {"not_enough_subjects"}


def test_many_sensors_leave_an_alarm_possible() -> None:
    groups = [_group(i, 20, sensor=f"sensor {i}") for i in range(9)]
    groups.append(_group(99, 20, shift=3.0, sensor="moved"))
    verdicts = judge(groups, SETTINGS, DAY)
    alarms = {(v.sensor, v.statistic) for v in verdicts if v.verdict == "alarm"}
    assert alarms == {("moved", drift.RESIDUAL_T2)}


def test_information_never_alarms() -> None:
    group = _group(1, 30)
    worse = replace(group, current=replace(group.current, quality=group.current.quality / 100))
    verdicts = judge([worse], SETTINGS, DAY)
    quality = next(v for v in verdicts if v.statistic == QUALITY)
    assert quality.p_value is not None
    assert quality.p_value < 0.01
    assert quality.verdict == "information"
    assert not any(v.verdict == "alarm" for v in verdicts)


def test_a_sensor_that_delivers_nothing_usable_is_refused_not_calm(tmp_path) -> None:
    config = system(tmp_path)
    failures(config, CALM, 30)
    result = monitor(config, day=CALM)
    assert {v["verdict"] for v in result.verdicts if v["statistic"] in TESTED} == {
        "not_enough_subjects"
    }
    assert _of(result.verdicts, FAILURE_RATE)["value"] == 1.0
    stored = Store.of(config).read("drift", filter=pc.field("statistic") == FAILURE_RATE)
    assert stored["value"].to_pylist() == [1.0]
