from biometric_core.history import drift_table
from biometric_core.history.drift_table import TESTED, Outcome
from biometric_core.monitoring.report.facts import WORDS, alarm_days, facts, rows_of
from biometric_core.monitoring.report.table import logged, table
from tests.support.drift_days import FINGER, TODAY, before, day_row, groups, row, stored

ALARM = row(Outcome.ALARM, p_value=0.001)
SUSPECT = row(Outcome.SUSPECT, p_value=0.03)
CALM = row(Outcome.CALM)
FEW = row(Outcome.NOT_ENOUGH, p_value=None, value=None)


def told(*verdicts, earlier=None):
    return facts(stored({TODAY: list(verdicts)}), earlier or [])


def test_every_tested_statistic_has_words() -> None:
    assert set(TESTED) <= set(WORDS)


def test_since_is_the_first_day_that_was_not_calm_in_a_row() -> None:
    days = {before(5): [ALARM], before(4): [CALM], before(2): [SUSPECT], before(1): [ALARM]}
    (moved,) = told(ALARM, day_row(Outcome.ALARM), earlier=stored(days)).moved
    assert (moved.since, moved.days) == (before(2), 3)


def test_another_model_has_another_reference() -> None:
    days = {before(2): [ALARM, day_row(Outcome.ALARM)], before(1): [ALARM]}
    found = told(ALARM, day_row(Outcome.ALARM), earlier=stored(days, version="2"))
    assert (found.moved[0].since, found.moved[0].days) == (TODAY, 1)
    assert found.last_alarm is None


def test_each_sensor_has_its_own_run() -> None:
    finger = row(Outcome.SUSPECT, of=FINGER, p_value=0.02)
    days = {before(1): [CALM, finger]}
    found = told(ALARM, finger, day_row(Outcome.ALARM), earlier=stored(days))
    assert [(one.modality, one.since) for one in found.moved] == [
        ("iris", TODAY),
        ("fingerprint", before(1)),
    ]


def test_a_drift_that_was_told_names_the_day_of_its_alarm() -> None:
    told_then = [ALARM, day_row(Outcome.ALARM)]
    days = {before(2): told_then, before(1): [ALARM, day_row(Outcome.STANDING)]}
    found = told(ALARM, day_row(Outcome.STANDING), earlier=stored(days))
    assert f"the alarm was sent on {before(2)}" in found.headline


def test_what_moved_is_said_once_and_the_surest_first() -> None:
    found = told(
        row(Outcome.SUSPECT, drift_table.RESIDUAL_T2, p_value=0.04),
        row(Outcome.ALARM, drift_table.GENUINE_SHIFT, p_value=0.002, value=-2.345),
        row(Outcome.ALARM, "trend_genuine_shift", p_value=0.001, value=-2.0),
        row(Outcome.ALARM, "trend_failure_shift", p_value=0.003, value=0.041),
        row(Outcome.CALM, drift_table.QUALITY_T2),
        day_row(Outcome.ALARM),
    )
    assert found.moved[0].what == [
        "genuine scores fell by 2.3 (p = 0.002)",
        "the failure-to-acquire rate rose by 4.1 points over the recent days (p = 0.003)",
        "the features of known people moved (p = 0.04)",
    ]


def test_a_trend_that_needs_more_days_leaves_the_day_calm() -> None:
    waiting = row(Outcome.NOT_ENOUGH, "trend_residual_t2", p_value=None, value=None)
    found = told(CALM, waiting, day_row(Outcome.CALM))
    assert (found.calm, found.unjudged) == (["iris, sensor gate"], [])
    assert told(FEW, day_row(Outcome.NOT_ENOUGH)).unjudged == ["iris, sensor gate"]


def test_a_day_of_an_older_version_has_the_verdict_of_its_worst_row() -> None:
    assert told(ALARM, FEW).outcome == Outcome.ALARM
    assert told(CALM, row(Outcome.NOT_ENOUGH, of=FINGER)).outcome == Outcome.CALM
    assert told(FEW).outcome == Outcome.NOT_ENOUGH
    rows = stored({before(1): [ALARM], TODAY: [ALARM, day_row(Outcome.STANDING)]})
    assert alarm_days(rows) == [before(1)]


def test_the_table_has_a_line_for_a_statistic_of_the_day_and_of_recent_days() -> None:
    found = groups()
    verdicts = [
        row(Outcome.CALM, of=FINGER),
        row(Outcome.CALM, drift_table.RESIDUAL_T2, p_value=0.4, value=2.5),
        row(Outcome.ALARM, "trend_residual_t2", p_value=0.001),
        row(Outcome.INFORMATION, "failure_rate", p_value=None, value=0.0312),
        day_row(Outcome.ALARM),
    ]
    rows = rows_of(TODAY, "3", found, verdicts)
    lines = table(found, rows)
    residuals, failures, genuine = (line.cells for line in lines[:3])
    assert residuals[0] == "iris, sensor gate"  # what moved comes first
    assert residuals[2:] == ["2.5", "", "0.4", "0.001", "30", "alarm"]
    assert failures[2:4] == ["3.1%", "0.0%"]
    mean, reference = (float(cell) for cell in genuine[2:4])
    window = found[0].today.probes, found[0].reference.probes
    assert abs(mean - window[0].genuine.mean()) < 1e-3
    assert abs(reference - window[1].genuine.mean()) < 1e-3
    assert not any("day" in line.cells[1] for line in lines)
    assert logged(rows)["iris/gate/trend_residual_t2/p_value"] == 0.001
    assert "fingerprint/x_y_/residual_t2/value" in logged(rows)
