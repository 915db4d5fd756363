"""Commands that keep an installation good: watch days, take a promotion back, tidy up, ask."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biometric_core.cli.invocation import DayOption, JsonOption, day_of, run_stage
from biometric_core.cli.terminal import hint, show_days, show_status, show_verdict
from biometric_core.errors import ConfigError

if TYPE_CHECKING:
    from biometric_core.config import Config

operations = typer.Typer()

_NO_CAPTURES = (
    "no prepared captures came through the inbox on that day: `biometric ingest --kind inbox "
    "--captured-at DAY`, `biometric preprocess`"
)


@operations.command()
def score(day: DayOption, out: JsonOption = None) -> None:
    """Compare a day's captures with the enrolled references, by the champion."""
    from biometric_core.stages.score import score as stage

    result = run_stage(lambda config: stage(config, day=day_of(day)), out)
    hint(not result["probes"], _NO_CAPTURES)


@operations.command()
def monitor(
    day: DayOption,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DAY", help="And each day up to this one."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Judge again a day with a verdict.")
    ] = False,
    out: JsonOption = None,
) -> None:
    """Tell whether a day's scored captures have drifted; writes the report.

    Days before it (monitoring.late_days) whose captures came late are judged again. Only days are
    judged, nothing is taken in and nobody is told: that is biometric_monitoring's.
    """
    from biometric_core.stages.monitor import monitor as stage

    if until is None:
        result = run_stage(
            lambda config: stage(config, day=day_of(day), force=force), out, show_verdict
        )
        hint(not result["verdicts"], f"no verdict: {_NO_CAPTURES}")
        return

    def _stage(config: "Config") -> dict[str, Any]:
        first, last = day_of(day), day_of(until, "--until")
        if last < first:
            raise ConfigError(f"--until: {last} lies before --day {first}")
        # Oldest first: confirmation, trend and cooldown look back.
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return {"days": [asdict(stage(config, day=one, force=force)) for one in days]}

    run_stage(_stage, out, show_days)


@operations.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; goes into the decisions table.")],
    out: JsonOption = None,
) -> None:
    """Make the previous champion champion again."""
    from biometric_core.stages.rollback import rollback as stage

    run_stage(lambda config: stage(config, reason=reason), out)


@operations.command()
def maintain(out: JsonOption = None) -> None:
    """Put small files together; remove what is old: versions no model names, caches, reports."""
    from biometric_core.stages.maintain import maintain as stage

    run_stage(stage, out)


@operations.command()
def status(out: JsonOption = None) -> None:
    """Tell the champion, the last verdict, alarms, decisions, and what to do next."""
    from biometric_core.stages.status import status as stage

    run_stage(stage, out, show_status)
