import json
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from biometric_core.cli.commands import app

STAGES = [
    "download",
    "generate",
    "ingest",
    "preprocess",
    "check",
    "train",
    "evaluate",
    "promote",
    "rollback",
    "score",
    "monitor",
    "predict",
    "crossval",
    "maintain",
    "status",
]


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_help_names_every_stage_and_the_order_to_use_them():
    shown = run("--help").output
    assert all(re.search(rf"\b{stage}\b", shown) for stage in STAGES)
    assert "generate → ingest" in shown


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_explains_itself(stage):
    result = run(stage, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; import biometric_core.cli.commands, biometric_core.config; "
        "heavy = {'torch', 'ray', 'mlflow', 'evidently', 'pandas', 'cv2', 'numpy', 'pyarrow', "
        "'airflow', 'matplotlib', 'sklearn'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "biometric_core", "--version"], capture_output=True, text=True
    )
    assert re.fullmatch(r"biometric \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ("2027-01-05", datetime(2027, 1, 5, tzinfo=UTC)),
        ("2027-01-05T01:30:00", datetime(2027, 1, 5, 1, 30, tzinfo=UTC)),
        ("2027-01-05T01:30:00+02:00", datetime(2027, 1, 4, 23, 30, tzinfo=UTC)),
    ],
)
def test_captures_were_taken_at_a_time_in_utc_or_in_the_zone_it_names(monkeypatch, told, taken):
    found = []

    def ingest(config, *, captured_at, **_):
        found.append(captured_at)
        return {}

    monkeypatch.setattr("biometric_core.stages.ingest.ingest", ingest)
    result = run("ingest", "--source", "any", "--captured-at", told)
    assert result.exit_code == 0, result.output
    assert found == [taken]


def test_captures_of_a_day_are_told_from_those_for_training(monkeypatch):
    found = []
    monkeypatch.setattr(
        "biometric_core.stages.ingest.ingest", lambda config, *, kind, **_: found.append(kind) or {}
    )
    for arguments in ((), ("--kind", "inbox")):
        assert run("ingest", "--source", "any", *arguments).exit_code == 0
    assert found == ["folder", "inbox"]
    assert run("ingest", "--source", "any", "--kind", "door").exit_code == 2


def test_errors_are_one_line_without_a_traceback(tmp_path):
    result = run(
        "--set", f"storage.root={tmp_path}", "ingest", "--source", str(tmp_path / "absent")
    )
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert "Traceback" not in result.output


def test_a_bad_setting_exits_with_2_and_its_name():
    result = run("--set", "training.epochs=none", "status")
    assert result.exit_code == 2
    assert "training.epochs" in result.output


def test_results_go_to_a_file_or_to_the_terminal_as_json(tmp_path):
    common = ("--profile", "test", "--set", f"storage.root={tmp_path / 'data'}")
    result = run(*common, "preprocess", "--json", "-")
    assert json.loads(result.stdout)["prepared"] == 0
    run(*common, "preprocess", "--json", str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["prepared"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--set", "training=5", "--set", "training.epochs=3", "status"),
            "a section has no value",
        ),
        (("--set", "training", "status"), "KEY=VALUE"),
        (("preprocess", "--json", "{folder}"), "can't write it"),
        (("monitor", "--day", "yesterday"), "write a day as 2026-01-31"),
        (("score", "--day", "2026-02-30"), "doesn't exist"),
        (("ingest", "-s", "x", "--captured-at", "today"), "write a time as 2026-01-31"),
        (("ingest", "-s", "x", "--captured-at", "2207-01-01"), "1970 to 2100"),
        (("train", "--as-of", "06.01.2027"), "--as-of"),
        (("monitor", "--day", "2026-01-05", "--until", "2026-01-04"), "before --day"),
    ],
)
def test_mistakes_of_a_user_are_told_in_words(tmp_path, arguments, said):
    chosen = [argument.format(folder=tmp_path) for argument in arguments]
    result = run("--profile", "test", "--set", f"storage.root={tmp_path / 'data'}", *chosen)
    assert result.exit_code == 2
    assert said in result.output


def test_a_storage_root_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--set", f"storage.root={tmp_path / 'file'}", "preprocess")
    assert result.exit_code == 1
    assert "error: " in result.output


def test_nothing_to_do_says_what_to_do(tmp_path):
    result = run("--profile", "test", "--set", f"storage.root={tmp_path / 'data'}", "preprocess")
    assert result.exit_code == 0
    assert "biometric ingest" in result.output


def test_the_script_ends_with_the_status_of_the_command(tmp_path):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "biometric_core", "--set", f"storage.root={tmp_path / 'data'}"]
    for arguments, status in ((["preprocess"], 0), (["ingest", "-s", "empty"], 1), (["nope"], 2)):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    "options", [("--paint-out", "nose"), ("--pretrained", "--recogniser", "some/folder")]
)
def test_options_of_crossval_that_make_no_sense(options):
    result = run("crossval", "--source", "nowhere", *options)
    assert result.exit_code == 2
    assert options[0] in result.output


def test_crossval_paints_out_what_the_command_line_offers():
    from biometric_core.imaging.iris.paint_out import PaintOut

    assert "|".join(PaintOut) in run("crossval", "--help").output
