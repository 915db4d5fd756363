"""Kinds of values: what a setting may be, and how its text is read."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from biometric_core.config import yaml_text
from biometric_core.times import DAY_FORM, parse_day

_CRON = (  # lowest and highest of each field, and names in threes
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, ""),
    (1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"),
    (0, 7, "sunmontuewedthufrisat"),
)
_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def _listed(value: Any) -> Any:
    """A list from text: `a,b`, or JSON or YAML as `[a, b]`."""
    if not isinstance(value, str):
        return value
    if value.startswith(("[", "{")):
        return yaml_text.parse(value)
    return [item.strip() for item in value.split(",")]


def _mapped(value: Any) -> Any:
    """One value, or one for each name from text: `{a: 1, b: 2}`."""
    braced = isinstance(value, str) and value.startswith("{")
    return yaml_text.parse(value) if braced else value


def _place(text: str) -> str:
    """A folder or an address; `~` is the home of the user."""
    _words(text)
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("names no home folder that is known here: write the whole path") from None


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("holds a line break or a control character")
    return text


def _day(value: Any) -> Any:
    if isinstance(value, str):
        return parse_day(value)
    if type(value) is not date:
        raise ValueError(f"is no day: {DAY_FORM}")
    return value


def _cron(text: str) -> str:
    """Five fields, each of numbers in its range; croniter's `L` and `#` are let through."""
    fields = text.lower().split()
    if text in _PRESETS:
        return text
    if len(fields) != len(_CRON):
        raise ValueError("is no cron expression of five fields: minute hour day month weekday")
    for field, (low, high, names) in zip(fields, _CRON, strict=True):
        for word in re.split(r"[,#-]|/\d+", field):
            named = names.find(word) if len(word) == 3 and not word.isdecimal() else -1
            number = word.removesuffix("l") if named < 0 else str(named // 3 + low)
            inside = number.isdecimal() and low <= int(number) <= high
            if not (inside or word in ("*", "?", "l") or (word == "" and "/" in field)):
                raise ValueError(f"is no cron expression: {field!r} is not within {low} to {high}")
    return text


def _address(text: str) -> str:
    if text.count("@") != 1 or not all(part.strip() for part in text.split("@")):
        raise ValueError("is no e-mail address")
    return _words(text)


Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
# Of what a sensor measures. Files keep 16 where it is more than 8.
Bits = Annotated[int, Field(ge=8, le=16)]
SensorBits = Annotated[Bits | dict[str, Bits], BeforeValidator(_mapped)]
Days = Annotated[int, Field(ge=0, le=36_500)]
Hours = Annotated[float, Field(gt=0, le=24 * 366)]
Text = Annotated[str, AfterValidator(_words)]
Place = Annotated[str, AfterValidator(_place)]
Places = Annotated[tuple[Place, ...], BeforeValidator(_listed)]
Day = Annotated[date, BeforeValidator(_day)]
Cron = Annotated[str, AfterValidator(_cron)]
Fusion = Literal["concat", "attention", "weighted_sum"]
Channel = Literal["log", "email", "webhook"]
Channels = Annotated[tuple[Channel, ...], BeforeValidator(_listed)]
Addresses = Annotated[
    tuple[Annotated[str, AfterValidator(_address)], ...], BeforeValidator(_listed)
]
_Side = Annotated[int, Field(ge=16, le=1024)]
Shape = Annotated[tuple[_Side, _Side], BeforeValidator(_listed)]
