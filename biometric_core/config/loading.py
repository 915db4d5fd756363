"""The configuration, resolved: base.yaml < profile < environment < command line."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from biometric_core.config import layers
from biometric_core.config.layers import Layer
from biometric_core.config.sections import Config
from biometric_core.errors import ConfigError

_LONGEST = 60
_USER_AND_PASSWORD = re.compile(r"//[^/\s]*@")


def config_dir() -> Path:
    """The folder of the YAML files: `BIOMETRIC_CONFIG_DIR`, or `config/` beside the package."""
    given = os.environ.get("BIOMETRIC_CONFIG_DIR")
    return Path(given).expanduser() if given else Path(__file__).parents[2] / "config"


def load_config(
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> Config:
    """Resolve the configuration.

    Args:
        profile: name of a file in the config folder; `BIOMETRIC_PROFILE` when None, else only base.
        overrides: nested values that win over files and environment, `{"training": {"epochs": 3}}`.
        settings: `KEY=VALUE`, as in `--set`; they win over everything.

    Raises:
        ConfigError: a file or setting is missing, unknown, of a wrong form or out of range; one
            line that names file or variable, the key and the form to write.
    """
    found = [
        *(layers.of_file(path) for path in _files(profile or os.environ.get("BIOMETRIC_PROFILE"))),
        layers.of_environment(os.environ),
        layers.of_values(overrides or {}),
        layers.of_options(settings),
    ]
    try:
        return Config.model_validate(_merged(found))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise _refusal(details[0], found, len(details) - 1) from None


def _files(profile: str | None) -> list[Path]:
    folder = config_dir()
    files = [folder / "base.yaml", *([folder / f"{profile}.yaml"] if profile else [])]
    for path in files:
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for some names
            there = ", ".join(sorted(one.stem for one in folder.glob("*.yaml"))) or "none"
            raise ConfigError(
                f"no configuration file {path}: set BIOMETRIC_CONFIG_DIR or --profile "
                f"(profiles there: {there})"
            )
    return files


def _merged(found: Iterable[Layer]) -> dict[str, dict[str, Any]]:
    """Values by section and key; a later layer wins, key by key."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in found:
        for section, values in layer.values.items():
            merged.setdefault(section, {}).update(values)
    return merged


def _refusal(error: Mapping[str, Any], found: Sequence[Layer], others: int) -> ConfigError:
    """The one line of a value that is refused."""
    section, *path = (str(part) for part in error["loc"])
    key = path[0] if path else ""
    layer = _layer_of(section, key, found)
    if error["type"] == "extra_forbidden":
        return layer.unknown(key, section)
    more = f" ({others} more after it)" if others else ""
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    said = "has too few values" if error["type"] == "missing" else said
    if not key:  # several settings don't go together
        own = [*layer.values[section]]
        return layer.refusal(f"{section}.{own[0]}" if len(own) == 1 else section, said + more)
    setting = f"{section}.{key}"
    got = "is empty" if error["input"] is None else f"{_shown(error['input'])} {said}"
    form = "" if "write" in said else f"; write {layer.spelled(setting, _example(section, key))}"
    return layer.refusal(setting, got + form + more)


def _layer_of(section: str, key: str, found: Sequence[Layer]) -> Layer:
    """The strongest layer that holds the setting, or something of the section."""
    holds = [layer for layer in found if section in layer.values]
    exact = [layer for layer in holds if key in layer.values[section]]
    return (exact or holds or list(found))[-1]


def _example(section: str, key: str) -> str:
    """A right value, as it is written: the default, or one of the type where that is null."""
    field = getattr(Config(), section).__class__.model_fields[key]
    value = field.examples[0] if field.examples else field.default
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    """What was given, without a password and not at length."""
    text = _USER_AND_PASSWORD.sub("//", repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
