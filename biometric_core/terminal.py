"""What a person reads on the terminal."""

import json
from typing import Any

import typer


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
