import os
import subprocess
import sys

import pytest
import yaml

from biometric_core.config import Config, config_dir, load_config
from biometric_core.errors import ConfigError


def test_base_yaml_documents_every_setting_with_its_default():
    documented = yaml.safe_load((config_dir() / "base.yaml").read_text())
    defaults = Config().model_dump()
    assert {k: set(v) for k, v in documented.items()} == {k: set(v) for k, v in defaults.items()}
    assert load_config().model_dump() == defaults


def test_precedence_is_base_profile_environment_argument(monkeypatch):
    assert load_config().training.epochs == Config().training.epochs
    assert load_config("test").training.epochs == 2
    monkeypatch.setenv("BIOMETRIC__TRAINING__EPOCHS", "5")
    assert load_config("test").training.epochs == 5
    assert load_config("test", {"training": {"epochs": 7}}).training.epochs == 7
    assert load_config("test").training.width == 8, "other values of the section stay"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"epoch": 3}}, "training.epoch"),
        ({"nonsense": {"x": 1}}, "nonsense"),
        ({"monitoring": {"alpha": 0.9}}, "monitoring.alpha"),
        ({"notifications": {"alarm": ["fax"]}}, "notifications.alarm"),
        ({"notifications": {"alarm": ["email"]}}, "notifications.to names nobody"),
    ],
)
def test_unknown_keys_and_bad_values_are_refused_by_name(overrides, named):
    with pytest.raises(ConfigError, match=named):
        load_config("test", overrides)


@pytest.mark.parametrize("name", ["BIOMETRIC__TRAINING__EPOCH", "BIOMETRIC__NONSENSE__X"])
def test_unknown_environment_settings_are_refused(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=r"epoch|NONSENSE"):
        load_config()


def test_unknown_profile_is_refused():
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config("absent")


def test_digest_is_the_same_in_every_process_and_changes_with_a_value():
    code = "from biometric_core.config import load_config; print(load_config('test').digest())"
    env = os.environ | {"PYTHONHASHSEED": "123"}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert other.stdout.strip() == load_config("test").digest(), other.stderr
    assert load_config("test", {"training": {"seed": 1}}).digest() != load_config("test").digest()
