"""The report: what the verdict was, readable by people and machines, without a name in it."""

import json
import os
from datetime import date

import numpy as np
import pytest
from drift_story import system

from biometric_core.config import Config, Monitoring
from biometric_core.drift import Window
from biometric_core.report import write_report
from biometric_core.store import Store
from biometric_core.tracking import runs
from biometric_core.verdicts import TESTED, Group, judge

DAY = date(2026, 1, 7)
SETTINGS = Monitoring(permutations=199)


def _window(seed: int, subjects: int, shift: float = 0.0) -> Window:
    rng = np.random.default_rng(seed)
    names = np.array([f"person{i}" for i in range(subjects)])
    return Window(
        subject=names,
        identity=names,
        trained_on=np.zeros(subjects, bool),
        residual=rng.normal(size=(subjects, 8)) + shift,
        template=rng.normal(size=(subjects, 8)),
        genuine=rng.normal(size=subjects) - shift,
        quality=rng.uniform(size=subjects),
    )


def _groups(shift: float) -> list[Group]:
    moved = Group("iris", "default", _window(1, 60), _window(2, 30, shift), captures=30)
    sparse = Group("fingerprint", "x<y>", _window(3, 60), _window(4, 2), captures=2)
    return [moved, sparse]


def _write(config: Config, shift: float) -> tuple[dict, str]:
    groups = _groups(shift)
    verdicts = judge(groups, SETTINGS, DAY)
    path = write_report(Store.of(config), config, DAY, "3", groups, verdicts)
    html = Store.of(config).path(path)
    return json.loads(html.with_suffix(".json").read_text()), html.read_text()


@pytest.mark.parametrize(("shift", "status"), [(0.0, "SUCCESS"), (3.0, "FAIL")])
def test_the_tests_of_the_report_are_the_verdict(tmp_path, shift: float, status: str) -> None:
    report, html = _write(system(tmp_path), shift)
    # The day and the two statistics of the group with enough subjects; nothing of Evidently's own.
    assert [test["status"] for test in report["tests"]] == [status] * (1 + len(TESTED))
    names = [metric["metric_name"] for metric in report["metrics"]]
    for own in ("EmbeddingsDrift", "ValueDrift", "DriftStatistic", "DayVerdict"):
        assert any(own in name for name in names)
    assert "2026-01-07" in html
    assert "not enough subjects" in html
    assert "person1" not in html + json.dumps(report)


def test_the_report_is_the_same_at_every_run_and_goes_to_one_run_of_mlflow(tmp_path) -> None:
    config = system(tmp_path)
    first, _ = _write(config, 0.0)
    second, _ = _write(config, 0.0)
    assert [m["value"] for m in first["metrics"]] == [m["value"] for m in second["metrics"]]
    run = runs.find_run(config, tag="report", value=f"drift {DAY}", status=["FINISHED"])
    assert run is not None
    folder = runs.download(config, run.run_id, "report")
    assert sorted(path.name for path in folder.iterdir()) == ["drift.html", "drift.json"]
    assert run.metrics["iris/default/residual_t2/p_value"] > 0.01
    assert run.tags["alarm"] == "false"


def test_numpy_keeps_its_generator(tmp_path) -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    _write(system(tmp_path), 0.0)
    assert np.random.random() == expected


def test_telemetry_is_off() -> None:
    assert os.environ["DO_NOT_TRACK"]
