"""One invocation of the command line: its global options, and running a stage under them."""

import json
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biometric_core.cli.terminal import show
from biometric_core.errors import BiometricError, ConfigError

if TYPE_CHECKING:
    from biometric_core.config import Config

JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; '-' prints it."),
]
SourceOption = Annotated[
    str,
    typer.Option("--source", "-s", metavar="PATH", help="A folder or .zip of captures."),
]
DayOption = Annotated[
    datetime, typer.Option("--day", formats=["%Y-%m-%d"], help="The day of the captures.")
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", help="Only captures taken before this time (UTC)."),
]


class State:
    """Global options of one invocation."""

    profile: str | None = None
    overrides: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed


def nested(settings: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` settings as nested values; keys are dotted.

    Raises:
        typer.BadParameter: one is not of that form.
    """
    nested: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"{setting!r}: write KEY=VALUE", param_hint="--set")
        *parents, leaf = key.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise typer.BadParameter(f"{setting!r}: {parent} has a value", param_hint="--set")
        section[leaf] = None if value in ("null", "") else value
    return nested


def run_stage(
    stage: Callable[["Config"], Any],
    out: Path | None,
    shown: Callable[[dict[str, Any]], None] = show,
) -> Any:
    """Resolve the configuration, run one stage, show its result; errors are one line and exit 1."""
    from biometric_core.config import load_config

    try:
        result = stage(load_config(State.profile, State.overrides))
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
