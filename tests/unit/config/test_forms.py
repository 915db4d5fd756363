"""Right settings in all the forms in which people write them, and where they come from."""

from datetime import date

import pytest

from biometric_core.config import config_dir, load_config
from biometric_core.errors import ConfigError

LISTS = ["a@example.org,b@example.org", '["a@example.org", "b@example.org"]']
LISTS += [
    "[a@example.org, b@example.org]",
    " a@example.org , b@example.org ",
    "['a@example.org',\n b@example.org]",
]
TO = ("a@example.org", "b@example.org")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    (tmp_path / "base.yaml").write_bytes((config_dir() / "base.yaml").read_bytes())
    monkeypatch.setenv("BIOMETRIC_CONFIG_DIR", str(tmp_path))

    def load(content: bytes):
        (tmp_path / "mine.yaml").write_bytes(content)
        return load_config("mine")

    return load


@pytest.mark.parametrize("text", LISTS)
def test_lists_are_read_in_every_form_everywhere(monkeypatch, profile, text):
    assert load_config(settings=[f"notifications.to={text}"]).notifications.to == TO
    assert profile(f"notifications:\n  to: {text}\n".encode()).notifications.to == TO
    monkeypatch.setenv("BIOMETRIC__NOTIFICATIONS__TO", text)
    assert load_config().notifications.to == TO


def test_sections_are_read_as_json_and_yaml(monkeypatch, profile):
    for text in ('{"epochs": 3, "impressions": null}', "{epochs: 3, impressions: }"):
        assert load_config(settings=[f"training={text}"]).training.epochs == 3
        monkeypatch.setenv("BIOMETRIC__TRAINING", text)
        monkeypatch.setenv("BIOMETRIC__TRAINING__WIDTH", "16")
        found = load_config().training
        assert (found.epochs, found.impressions, found.width) == (3, None, 16)


def test_shapes_can_be_set(monkeypatch):
    for text in ("[32, 256]", "32,256"):
        assert load_config(settings=[f"preprocess.iris_shape={text}"]).preprocess.iris_shape == (
            32,
            256,
        )


@pytest.mark.parametrize(
    ("content", "sensor"),
    [
        ("source: {sensor: Tür}\n".encode(), "Tür"),
        (b"\xef\xbb\xbfsource: {sensor: door}\n", "door"),
        ("source: {sensor: Tür}\n".encode("utf-16"), "Tür"),
        (b"source:\r\n  sensor: door\r\n", "door"),
        (b"source: {sensor: 007}\n", "007"),
        (b"source: {sensor: no}\n", "no"),
        (b"source: {sensor: 2026-02-30}\n", "2026-02-30"),
        (b"source: {sensor: 1:30}\n", "1:30"),
        (b"", "default"),
        (b"# nothing differs\n", "default"),
    ],
)
def test_a_profile_means_what_it_says(profile, content, sensor):
    assert profile(content).source.sensor == sensor


def test_quotes_that_an_env_file_keeps_are_no_part_of_a_value(monkeypatch):
    monkeypatch.setenv("BIOMETRIC__SOURCE__SENSOR", '"door"')
    monkeypatch.setenv("BIOMETRIC__TRAINING__EPOCHS", "'3'\r")
    assert load_config().source.sensor == "door"
    assert load_config().training.epochs == 3


def test_a_null_is_written_as_one_or_as_nothing(monkeypatch):
    for text in ("null", ""):
        monkeypatch.setenv("BIOMETRIC__RELEASE__MAX_EER_IRIS", text)
        assert load_config().release.max_eer_iris is None
        assert (
            load_config(settings=["gate.seed=3", f"schedules.training={text}"]).schedules.training
            is None
        )


def test_a_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(settings=["storage.root=~/bio", "source.path=~", "storage.inbox=./~"])
    assert config.storage.root == str(tmp_path / "bio")
    assert config.source.path == str(tmp_path)
    assert config.storage.inbox == "./~"


@pytest.mark.parametrize(
    "cron", ["*/15 0-6 1,15 jan-mar MON-FRI", "@daily", "0 0 L * 5#2", "0 3 * * 7"]
)
def test_schedules_are_cron_expressions(cron):
    assert load_config(settings=[f"schedules.training={cron}"]).schedules.training == cron


def test_days_are_days():
    assert load_config(settings=["schedules.start_date=2026-02-28"]).schedules.start_date == date(
        2026, 2, 28
    )


@pytest.mark.parametrize(
    "name",
    [
        "BIOMETRIC_PORT_8080_TCP",
        "BIOMETRIC_SERVICE_HOST",
        "BIOMETRIC_MLFLOW_UI",
        "BIOMETRIC_FAULT_SEED",
    ],
)
def test_variables_of_others_are_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    load_config()


def test_the_same_setting_twice_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("BIOMETRIC__TRAINING__EPOCHS", "3")
    monkeypatch.setenv("biometric__training__epochs", "4")
    with pytest.raises(ConfigError, match="the same setting"):
        load_config()


def test_a_password_is_not_repeated():
    with pytest.raises(ConfigError) as told:
        load_config(settings=["mlflow=postgresql://me:hunter2@host/db"])
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("make", ["folder", "missing"])
def test_a_profile_that_is_no_file_is_named(profile, tmp_path, make):
    if make == "folder":
        (tmp_path / "gone.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"gone\.yaml.*(directory|profiles there: base)"):
        load_config("gone")
