"""The names of settings, and the nearest right ones to a wrong one."""

import difflib
import re

from biometric_core.config.sections import Config

PREFIX = "BIOMETRIC__"
# What is no setting; README.md, "Configuration", says what each is for.
VARIABLES = (
    "BIOMETRIC_PROFILE",
    "BIOMETRIC_CONFIG_DIR",
    "BIOMETRIC_PSEUDONYM_KEY",
    "BIOMETRIC_PSEUDONYM_KEY_FILE",
    "BIOMETRIC_VAR",
    "BIOMETRIC_MLFLOW_UI",
    "BIOMETRIC_REPORTS_UI",
    "BIOMETRIC_FAULT_SEED",
)
KEYS: dict[str, tuple[str, ...]] = {
    name: tuple(getattr(Config.model_fields[name].annotation, "model_fields", ()))
    for name in Config.model_fields
}
"""The keys of each section."""

_SETTINGS = tuple(f"{section}.{key}" for section, keys in KEYS.items() for key in keys)
_SHOWN = 3


def nearest(name: str, section: str = "") -> list[str]:
    """The settings that a wrong name may mean, as `section.key`; at most three, or none.

    Args:
        name: a key of the section, or without one whatever stands for a section or setting.
        section: the section in which it stands.
    """
    bare = {_bare(setting): setting for setting in _SETTINGS}
    if not section and (close := difflib.get_close_matches(name.lower(), KEYS, 1, 0.75)):
        return close
    if section and (close := difflib.get_close_matches(_bare(name), KEYS[section], 1, 0.7)):
        return [f"{section}.{close[0]}"]
    if close := difflib.get_close_matches(_bare(section + name), bare, 1, 0.9):
        return [bare[close[0]]]
    if close := difflib.get_close_matches(_bare(name), bare, 1, 0.9):
        return [bare[close[0]]]
    leaf = _bare(re.split(r"[.:/]", name)[-1])
    return [one for one in _SETTINGS if _bare(one.split(".")[1]) == leaf][:_SHOWN]


def nearest_variable(name: str) -> str | None:
    """The variable that `name` seems to be meant for; None where it looks like none of ours."""
    if not name.startswith("BIOMETRIC"):
        return None
    ours = {_bare(setting): variable(setting) for setting in _SETTINGS}
    ours |= {_bare(known.removeprefix("BIOMETRIC")): known for known in VARIABLES}
    rest = _bare(re.sub("^BIOMETRICS?", "", name))
    close = difflib.get_close_matches(rest, ours, 1, 0.85)
    if close:
        return ours[close[0]]
    near = nearest(re.sub("^BIOMETRICS?_*", "", name)) if "__" in name else []
    return variable(near[0]) if near else (f"{PREFIX}SECTION__KEY" if "__" in name else None)


def variable(setting: str) -> str:
    """The environment variable of a setting (`section.key`) or section."""
    return PREFIX + setting.upper().replace(".", "__")


def _bare(name: str) -> str:
    """Letters and digits only, so that dots, dashes, underscores and case don't count."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
