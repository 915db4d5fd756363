"""Where settings are written: files, variables, `--set`. Each layer knows how it is spelled."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biometric_core.config import yaml_text
from biometric_core.config.names import KEYS, PREFIX, VARIABLES, nearest, nearest_variable, variable
from biometric_core.errors import ConfigError

OPTION = "--set "


class Layer:
    """Settings from one place.

    Args:
        where: a file, `BIOMETRIC__` for variables, `--set ` for the command line, or "" for Python.

    Attributes:
        values: by section and key; text, or a value with a type from Python.
    """

    def __init__(self, where: Path | str) -> None:
        self.where = where
        self.values: dict[str, dict[str, Any]] = {}

    def refusal(self, setting: str, why: str) -> ConfigError:
        """The error of a setting (`section.key`) or section: where it stands, and why."""
        if isinstance(self.where, Path):
            return ConfigError(f"{self.where}: {setting}: {why}")
        key = f"{setting}: " if self.where == PREFIX else ""
        return ConfigError(f"{self._name(setting)}: {key}{why}")

    def spelled(self, setting: str, value: str = "...") -> str:
        """A setting with a value as it is written here."""
        if isinstance(self.where, Path):
            section, _, key = setting.partition(".")
            return f"{section}: {{{key}: {value}}}" if key else f"{section}: {value}"
        plain = re.sub(r"^\[(.*)]$", lambda found: found[1].replace(", ", ","), value)
        return f"{self._name(setting)}={plain}"

    def _name(self, setting: str) -> str:
        return variable(setting) if self.where == PREFIX else f"{self.where}{setting}"

    def add(self, section: str, values: Any) -> None:
        """Add what a section holds.

        Raises:
            ConfigError: there is no such section, or it is empty or no mapping.
        """
        if section not in KEYS:
            raise self.unknown(section)
        form = self.spelled(section, f"{{{KEYS[section][0]}: ..., ...}}")
        if values is None:
            raise self.refusal(section, f"the section is empty: write {form}, or leave it out")
        if not isinstance(values, Mapping):
            raise self.refusal(section, f"a section has no value of its own: write {form}")
        self.values.setdefault(section, {}).update(values)

    def add_text(self, setting: str, text: str) -> None:
        """Add the text of a setting (`section.key`), or of a whole section as JSON or YAML.

        Raises:
            ConfigError: it can't be one.
        """
        section, _, key = setting.partition(".")
        if section not in KEYS:
            raise self.unknown(setting)
        if key:
            self.add(section, {key: _unquoted(text)})
            return
        try:
            self.add(section, yaml_text.parse(text))
        except ValueError as error:
            form = self.spelled(section, f"{{{KEYS[section][0]}: ..., ...}}")
            raise self.refusal(section, f"{error}; write {form}") from None

    def unknown(self, name: str, section: str = "") -> ConfigError:
        """The error of a name that is no setting, with the nearest right ones."""
        wrong = f"{section}.{name}" if section else name
        near = [self.spelled(one).removesuffix("=...") for one in nearest(name, section)]
        listed = ", ".join(KEYS[section] if section else KEYS)
        told = f"did you mean {' or '.join(near)}?" if near else f"there are {listed}"
        return self.refusal(wrong, f"no such setting; {told}")


def of_file(path: Path) -> Layer:
    """The settings of a YAML file.

    Raises:
        ConfigError: it can't be read, is no YAML, or doesn't hold sections; names file and line.
    """
    try:
        told = yaml_text.read(path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    layer = Layer(path)
    if told is not None and not isinstance(told, dict):
        raise ConfigError(f"{path}: it holds no sections: write training: {{epochs: 16}} and so on")
    for section, values in (told or {}).items():
        layer.add(str(section), values)
    return layer


def of_environment(environment: Mapping[str, str]) -> Layer:
    """The settings among environment variables: `BIOMETRIC__SECTION__KEY=VALUE`.

    Raises:
        ConfigError: a variable that looks like a setting is none; names it and the right one.
    """
    layer, names = Layer(PREFIX), dict[str, str]()
    for name in environment:
        upper = name.upper()
        if not upper.startswith(PREFIX):
            if upper not in VARIABLES and (right := nearest_variable(upper)):
                raise ConfigError(f"{name}: no such setting; did you mean {right}?")
        elif (single := upper.replace("__", "_")) in VARIABLES:
            raise ConfigError(f"{name}: no such setting; did you mean {single}?")
        elif (other := names.setdefault(upper, name)) != name:
            raise ConfigError(f"{name} and {other} are the same setting: keep one of them")
    # Short ones first: a section as a whole, then its settings.
    for upper, name in sorted(names.items(), key=lambda one: one[0].count("__")):
        layer.add_text(upper.removeprefix(PREFIX).lower().replace("__", "."), environment[name])
    return layer


def of_options(settings: Iterable[str]) -> Layer:
    """The settings of `--set KEY=VALUE`; keys are dotted, and of equal ones the last counts.

    Raises:
        ConfigError: one is not of that form, or names no setting.
    """
    layer = Layer(OPTION)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: write KEY=VALUE, e.g. --set training.epochs=16")
        layer.add_text(key.strip(), text)
    return layer


def of_values(values: Mapping[str, Any]) -> Layer:
    """Settings by section and key, from Python."""
    layer = Layer("")
    for section, found in values.items():
        layer.add(section, found)
    return layer


def _unquoted(text: str) -> str | None:
    """A text without the quotes that an env file keeps; None for `null` and for nothing."""
    text = text.strip()
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
    return quoted[2] if quoted else None if text in ("", "null") else text
