"""What a person reads on the terminal."""

import json
from typing import Any

import typer

from biometric_core.reporting.words import percent


def show(record: dict[str, Any]) -> None:
    """Print a stage's result as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(name, Text(_readable(value)))
    Console().print(table)


def show_verdict(record: dict[str, Any]) -> None:
    """Print the verdict on a day, and those on earlier days whose captures came late."""
    late = [f"{day['day']}: {_verdict(day)}" for day in record["late"]]
    show({**record, "late": late or "no captures of earlier days"})


def show_days(record: dict[str, Any]) -> None:
    """Print the verdicts of several days, a line for each."""
    told: dict[str, Any] = {}
    for day in record["days"]:
        told |= {f"{late['day']}, captures came late": _verdict(late) for late in day["late"]}
        told[day["day"]] = _verdict(day)
    show(told)


def _verdict(day: dict[str, Any]) -> str:
    before = f" (it was {day['before']})" if day["before"] else ""
    return f"{day['verdict'] or 'could not be judged'}{before}: {day['reason']}"


def show_status(record: dict[str, Any]) -> None:
    """Print where an installation stands, a line for each thing."""
    told: dict[str, Any] = {name: record[name] for name in ("store", "registry", "model")}
    told |= {alias: _version(record[alias]) for alias in ("champion", "challenger", "previous")}
    day, plan = record["day"], record["retraining"]
    if day:
        p_value = "" if day["p_value"] is None else f", p {day['p_value']:.2g}"
        since = f", so since {day['since']}" if day["since"] != day["day"] else ""
        told["last day"] = f"{day['day']}: {day['verdict']}{since}{p_value}, report {day['report']}"
    if record["replaced"]:
        told["judged again"] = [
            f"{one['day']}: {one['verdict']}, it was {one['before']}" for one in record["replaced"]
        ]
    told["alarms"] = [
        f"{one['modality']}, sensor {one['sensor']}: since {one['since']}, "
        f"{one['answered'] or 'not answered yet'}"
        for one in record["alarms"]
    ] or "none stands"
    if plan:
        told["retraining"] = f"{'due' if plan['due'] else 'not due'}: {plan['reason']}"
    told["decisions"] = [
        f"{one['decided_at'][:16]} version {one['challenger_version']} {one['decision']}: "
        f"{one['reason']}"
        for one in record["decisions"]
    ] or "none yet"
    told["tables"] = ", ".join(f"{name} {rows}" for name, rows in record["tables"].items())
    show({**told, **({"problem": record["problem"]} if record["problem"] else {})})
    show({"next": record["next"]})


def _version(model: dict[str, Any] | None) -> str:
    if model is None:
        return "none"
    rates = [f"{name} {percent(model[name])}" for name in model if name.endswith("_eer")]
    told = f"version {model['version']} since {model['since'][:16]}"
    return ", ".join([told, *rates, f"run {model['run_id']}"])


_WIDTH = 132
_COLUMNS = {
    "FNMR@1 %": "fnmr_at_fmr_0.01",
    "FNMR@0.1 %": "fnmr_at_fmr_0.001",
    "rank-1": "rank1",
}


def show_crossval(record: dict[str, Any]) -> None:
    """Print the figures of a cross-validation: a row for each name, in per cent."""
    from rich.console import Console
    from rich.table import Table

    mean = record["mean"]
    named = {name: one for name, one in mean.items() if name not in ("combinations", "reasons")}
    rows = {name: one for name, one in {**named, **mean["combinations"]}.items() if one}
    titles = ["EER [interval]", *_COLUMNS, "pairs"]
    if record["protocol"]["chimeric"]:
        titles.append("EER over the draws")
    table = Table("", *titles, box=None)
    for column in table.columns:
        column.no_wrap = True
    for name, one in rows.items():
        table.add_row(name, *_row(one))
    width = Console().width
    # Cut names and figures help nobody: a narrow terminal breaks the lines instead.
    Console(width=max(width, _WIDTH)).print(table)
    reasons = {name: why for name, why in mean["reasons"].items() if "." not in name}
    show({**({"not measured": reasons} if reasons else {}), "protocol": record["protocol"]})


def _row(figures: dict[str, Any]) -> list[str]:
    bounds = figures["intervals"]["eer"]
    interval = f" [{_percent(bounds[0])}, {_percent(bounds[1])}]" if bounds else ""
    rates = [_percent(figures[name]) for name in _COLUMNS.values()]
    pairs = f"{figures['n_mated']} + {figures['n_non_mated']}"
    eer = figures.get("draws", {}).get("eer")
    spread = f"{_percent(eer['mean'])} ± {_percent(eer['std'])}" if eer else ""
    worst = f" ({_percent(eer['min'])} to {_percent(eer['max'])})" if eer else ""
    return [_percent(figures["eer"]) + interval, *rates, pairs, spread + worst]


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.2f}"


def _readable(value: Any) -> str:
    """One line for each item of a list or dict: paths can be copied, figures found."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {json.dumps(item, default=str)}" for key, item in value.items())
    if isinstance(value, list):
        texts = (item if isinstance(item, str) else json.dumps(item, default=str) for item in value)
        return "\n".join(texts)
    return str(value)


def hint(nothing_done: bool, text: str) -> None:
    """Tell, on stderr, what to do where a stage had nothing to do."""
    if nothing_done:
        typer.secho(text, fg=typer.colors.YELLOW, err=True)
