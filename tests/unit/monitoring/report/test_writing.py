"""The report: what the verdict was, readable by people and machines, without a name in it."""

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from biometric_core.config import Config
from biometric_core.history import drift_table
from biometric_core.history.drift_table import Outcome
from biometric_core.monitoring.report.writing import write_report
from biometric_core.stages.monitor import monitor
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from tests.support.drift_days import FINGER, IRIS, TODAY, before, day_row, groups, keep, report, row
from tests.support.drift_story import CHANGED, changed_day, system, with_settings


def read(config: Config, path: str) -> tuple[dict, str]:
    """The JSON, read as strictly as any other reader does, and the HTML."""
    html = Store.of(config).path(path)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(
        html.with_suffix(".json").read_text(), parse_constant=refuse
    ), html.read_text()


def own_part(html: str) -> str:
    """The page without the frame of Evidently's views."""
    return html[: html.index("<iframe")]


@pytest.mark.parametrize(("shift", "ends"), [(0.0, "SUCCESS"), (3.0, "FAIL")])
def test_the_tests_of_the_report_are_the_verdict(tmp_path, shift: float, ends: str) -> None:
    config = system(tmp_path)
    told, _ = read(config, report(config, shift))
    names = " ".join(metric["metric_name"] for metric in told["metrics"])
    for own in ("EmbeddingsDrift", "ValueDrift", "DriftPValue", "DayFigure", "DayVerdict"):
        assert own in names
    # The day, its smallest p-value, and the residuals and scores of the group with enough people.
    ended = [test["status"] for test in told["tests"]]
    assert ended.count(ends) >= 4
    assert ("FAIL" in ended) == (ends == "FAIL")
    assert told["verdict"] == ("alarm" if shift else "partly_tested")


def test_a_suspect_day_warns_and_fails_nothing(tmp_path) -> None:
    config = system(tmp_path)
    verdicts = [row(Outcome.SUSPECT, p_value=0.015), day_row(Outcome.SUSPECT, 0.015)]
    told, html = read(
        config, write_report(Store.of(config), config, TODAY, "3", groups(), verdicts)
    )
    assert sorted(test["status"] for test in told["tests"]) == ["SUCCESS", "WARNING", "WARNING"]
    assert "Suspect: something may have moved" in own_part(html)


def test_the_page_says_first_what_moved_since_when(tmp_path) -> None:
    config = system(tmp_path)
    alarm = [row(Outcome.ALARM, p_value=0.001), day_row(Outcome.ALARM, 0.001)]
    keep(config, {before(3): [row(Outcome.CALM), day_row(Outcome.CALM)], before(1): alarm})
    told, html = read(config, report(config, 3.0))
    page = own_part(html)
    places = [
        page.index(text)
        for text in (
            f"Drift report of {TODAY}",
            "Alarm: ",
            f"iris, sensor gate, since {before(1)} (2 judged days in a row)",
            "genuine scores fell by",
            "Too few people to judge anything: fingerprint, sensor x&lt;y&gt;",
            "The days before",
            "What was looked at",
            "not enough subjects",
            "Evidently's views",
        )
    ]
    assert places == sorted(places)
    (moved,) = told["moved"]
    assert (moved["modality"], moved["sensor"], moved["since"]) == (*IRIS, str(before(1)))


def test_nobody_is_named_and_no_image_shown(tmp_path) -> None:
    config = system(tmp_path)
    changed_day(config)
    path = str(monitor(config, day=CHANGED).report)
    told, html = read(config, path)
    workspace = "".join(file.read_text() for file in (tmp_path / "data/evidently").rglob("*.json"))
    for text in (html, json.dumps(told), workspace):
        assert not re.search(r"\bs0\d\d\b|\b0\d\d[if]\d\b", text)
    page = own_part(html)
    assert page.count("data:image/png") == 1  # the days before
    assert "prepared capture" not in page


def test_the_worst_probes_are_shown_where_the_configuration_allows_it(tmp_path) -> None:
    config = with_settings(system(tmp_path), "monitoring", example_images=True)
    changed_day(config)
    told, html = read(config, str(monitor(config, day=CHANGED).report))
    page = own_part(html)
    assert page.count('alt="prepared capture"') == 8  # four of each modality
    assert "Personal data" in page
    assert not re.search(r"\bs0\d\d\b|\b0\d\d[if]\d\b", page)
    scores = [float(text) for text in re.findall(r"iris, sensor default: score (-?[\d.]+)", page)]
    probes = Store.of(config).read("probes", ["day", "modality", "genuine_score"]).to_pylist()
    of_day = [p["genuine_score"] for p in probes if (p["day"], p["modality"]) == (CHANGED, "iris")]
    assert scores == [pytest.approx(score, abs=0.006) for score in sorted(of_day)[:4]]
    assert "data:image" not in json.dumps(told)


def test_the_report_is_the_same_at_every_run_and_goes_to_one_run_of_mlflow(tmp_path) -> None:
    config = system(tmp_path)
    first, page = read(config, report(config))
    second, again = read(config, report(config))
    assert [m["value"] for m in first["metrics"]] == [m["value"] for m in second["metrics"]]
    assert own_part(page) == own_part(again)
    run = runs.find_run(config, tag="report", value=f"drift {TODAY}", status=["FINISHED"])
    assert run is not None
    folder = runs.download(config, run.run_id, "report")
    assert sorted(path.name for path in folder.iterdir()) == ["drift.html", "drift.json"]
    assert run.metrics["iris/gate/residual_t2/p_value"] > 0.01
    assert (run.tags["alarm"], run.tags["verdict"]) == ("false", "partly_tested")


def test_a_statistic_without_words_and_values_that_are_missing_are_shown(tmp_path) -> None:
    config = system(tmp_path)
    verdicts = [
        row(Outcome.NOT_ENOUGH, drift_table.RESIDUAL_T2, FINGER, None, None),
        row(Outcome.CALM, "of_tomorrow", IRIS, 0.4, None),
        row(Outcome.INFORMATION, "a_count", IRIS, None, 7.0),
        day_row(Outcome.CALM, 0.4),
    ]
    told, html = read(
        config, write_report(Store.of(config), config, TODAY, "3", groups(), verdicts)
    )
    assert "of tomorrow" in own_part(html)
    assert "a count" in own_part(html)
    assert {one["statistic"] for one in told["rows"]} >= {"of_tomorrow", "a_count"}


def test_a_day_that_nobody_could_judge_has_a_report(tmp_path) -> None:
    config = system(tmp_path)
    verdicts = [
        row(Outcome.NOT_ENOUGH, p_value=None, value=None),
        day_row(Outcome.NOT_ENOUGH, None),
    ]
    told, html = read(config, write_report(Store.of(config), config, TODAY, "3", [], verdicts))
    assert "No verdict: too few people could be compared" in own_part(html)
    assert told["p_value"] is None
    assert [test["status"] for test in told["tests"]] == ["SUCCESS"]  # no drift is confirmed


def test_numpy_keeps_its_generator(tmp_path) -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    report(system(tmp_path))
    assert np.random.random() == expected


@pytest.mark.slow
def test_evidently_sends_no_telemetry() -> None:
    code = (
        "import biometric_core.monitoring.report.writing, evidently.telemetry as t;"
        "assert not t.event_logger.is_enabled(), 'telemetry is on'"
    )
    env = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", code], env=env, cwd=root, check=True, timeout=120)


def test_old_days_do_not_hide_the_one_that_is_judged(tmp_path) -> None:
    config = system(tmp_path)
    keep(config, {date(2024, 1, 1): [row(Outcome.ALARM, p_value=0.001), day_row(Outcome.ALARM)]})
    told, _ = read(config, report(config))
    assert (told["verdict"], told["moved"]) == ("partly_tested", [])
