"""What is going on: a live table on a terminal, a line now and then elsewhere."""

import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

_REPEAT_SECONDS = 30.0  # what takes longer is told again where there is no live table
_MARKS = {"waiting": "[dim]·[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}


@dataclass
class _Step:
    label: str
    state: str = "waiting"
    note: str = ""
    began: float | None = None
    ended: float | None = None
    told: float = 0.0
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    @property
    def seconds(self) -> float | None:
        if self.began is None:
            return None
        return (self.ended or time.monotonic()) - self.began


class Display:
    """Steps with their state, how long they take, and a note.

    Args:
        steps: labels by key, in the order in which they are shown.
        console: where to; standard output when None.
    """

    def __init__(self, steps: dict[str, str], console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._steps = {key: _Step(label) for key, label in steps.items()}
        self._began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=self.console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for key, step in self._steps.items():
                if step.state == "running":
                    self.fail(key)
        if self._live is not None:
            self._live.stop()

    def start(self, key: str, note: str = "") -> None:
        """The step is being worked on; saying so again only changes the note, or says how long."""
        step = self._steps[key]
        if step.state != "running":
            step.state, step.began = "running", time.monotonic()
        if step.note != note or not note or time.monotonic() - step.told > _REPEAT_SECONDS:
            step.note = note
            self._tell(step)

    def done(self, key: str, note: str = "") -> None:
        """The step is over."""
        self._end(key, "done", note)

    def fail(self, key: str, note: str = "") -> None:
        """The step has failed."""
        self._end(key, "failed", note)

    def _end(self, key: str, state: str, note: str) -> None:
        step = self._steps[key]
        step.state, step.note, step.ended = state, note or step.note, time.monotonic()
        step.began = step.began or step.ended
        self._tell(step)

    def _tell(self, step: _Step) -> None:
        if self._live is None:
            step.told = time.monotonic()
            at = step.told - self._began
            note = f": {step.note}" if step.note else ""
            took = f" ({step.seconds:.0f} s)" if (step.seconds or 0) >= 1 else ""
            self.console.print(
                f"[{at:5.0f} s] {step.label} {step.state}{note}{took}", markup=False, soft_wrap=True
            )

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for step in self._steps.values():
            mark = step.spinner if step.state == "running" else _MARKS[step.state]
            seconds = "" if step.seconds is None else f"{step.seconds:.0f} s"
            table.add_row(mark, step.label, f"[dim]{seconds:>6}[/]", step.note)
        return table
