"""What the demonstration came to: `run/summary.json`, and the same for people."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.places import write_private


@dataclass(frozen=True)
class Summary:
    """The whole loop, JSON-able.

    Attributes:
        training: run_id (Airflow's), model_version, eer by iris, fingerprint and fused.
        monitoring: day, alarm, p_value, report of each day.
        retraining: run_id (Airflow's), triggered_by, decision, reason; None without a run.
        champion: name and version at the end.
        seconds: from start to end.
    """

    training: dict[str, Any]
    monitoring: list[dict[str, Any]]
    retraining: dict[str, Any] | None
    champion: dict[str, Any]
    seconds: float

    def open_ends(self) -> list[str]:
        """Why the loop has not closed; empty when it has."""
        found = []
        if not self.monitoring or not self.monitoring[-1]["alarm"]:
            found.append("the changed sensor raised no alarm")
        retraining = self.retraining or {}
        if retraining.get("triggered_by") != "asset":
            found.append("the scheduler started no retraining from the asset event")
        if retraining.get("decision") not in ("promoted", "rejected"):
            reason = retraining.get("reason") or "no retraining"
            found.append(f"no challenger was decided on: {reason}")
        if not self.champion.get("version"):
            found.append("there is no champion")
        return found

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_private(path, json.dumps(asdict(self), indent=2, allow_nan=False) + "\n")

    def show(self, console: Console) -> None:
        """Print it."""
        console.print()
        table = Table(show_header=False, box=None, padding=(0, 2))
        eer = ", ".join(f"{name} {_percent(value)}" for name, value in self.training["eer"].items())
        table.add_row("training", f"version {self.training['model_version']}, EER {eer}")
        for day in self.monitoring:
            verdict = "ALARM" if day["alarm"] else "no alarm"
            verdict += and_p_value(day["p_value"])
            table.add_row(day["day"], f"{verdict}, report {day['report'] or 'none'}")
        if self.retraining:
            told = self.retraining
            table.add_row("retraining", f"started by {told['triggered_by']}: {told['decision']}")
            table.add_row("", told["reason"])
        table.add_row("champion", f"{self.champion['name']} version {self.champion['version']}")
        table.add_row("took", f"{self.seconds:.0f} s")
        console.print(table)


def and_p_value(p_value: float | None) -> str:
    """What follows a verdict: its p value; nothing where nothing was tested."""
    return "" if p_value is None else f", p = {p_value:.4f}"


def _percent(value: float | None) -> str:
    return "not measurable" if value is None else f"{100 * value:.1f} %"
