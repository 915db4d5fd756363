"""One invocation of the command line: its global options, and running a stage under them."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biometric_core.cli.terminal import show
from biometric_core.errors import BiometricError, ConfigError
from biometric_core.times import parse_day, parse_time

if TYPE_CHECKING:
    from biometric_core.config import Config

JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; '-' prints it."),
]


def home(path: str) -> str:
    """A path whose `~` is the home: in `--to=~/x` no shell makes it so."""
    return os.path.expanduser(path)  # noqa: PTH111 - an address must stay as it is


SourceOption = Annotated[
    str,
    typer.Option(
        "--source", "-s", metavar="PATH", parser=home, help="A folder or .zip of captures."
    ),
]
DayOption = Annotated[
    str, typer.Option("--day", metavar="DAY", help="The day of the captures: 2026-01-31.")
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Only captures taken before this time: 2026-01-31 or 2026-01-31T14:30+02:00.",
    ),
]


class State:
    """Global options of one invocation."""

    profile: str | None = None
    settings: Sequence[str] = ()


def time_of(text: str | None, option: str) -> datetime | None:
    """The time an option names, in UTC; None where it isn't given.

    Raises:
        ConfigError: it is no time; names the option and the form to write.
    """
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {text!r} {error}") from None


def day_of(text: str, option: str = "--day") -> date:
    """The day an option names.

    Raises:
        ConfigError: it is no day; names the option and the form to write.
    """
    try:
        return parse_day(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {text!r} {error}") from None


def run_stage(
    stage: Callable[["Config"], Any],
    out: Path | None,
    shown: Callable[[dict[str, Any]], None] = show,
) -> Any:
    """Resolve the configuration, run one stage, show its result; errors are one line and exit 1."""
    from biometric_core.config import load_config

    try:
        result = stage(load_config(State.profile, settings=State.settings))
    except BiometricError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    except OSError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
    record = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
    text = json.dumps(record, indent=2, default=str, allow_nan=False)
    if out is None:
        shown(record)
    elif str(out) == "-":
        typer.echo(text)
    else:
        from biometric_core.storage.files import atomic_write

        try:
            atomic_write(out, (text + "\n").encode())
        except OSError as error:
            raise typer.BadParameter(f"can't write it: {error}", param_hint="--json") from error
    return record
