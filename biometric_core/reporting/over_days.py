"""Figures over days: lines of the same few groups in several panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from biometric_core.reporting.canvas import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 2
_ALARM, _CHANGE = "#c0392b", "#2c5aa0"


@dataclass(frozen=True)
class Line:
    """A figure of one group over days.

    Attributes:
        group: for the legend; the same group has the same colour in all panels.
        points: day and value, oldest first.
        slow: of several days together: drawn dashed.
    """

    group: str
    points: Sequence[tuple[date, float]]
    slow: bool = False


@dataclass(frozen=True)
class Panel:
    """Lines that share an axis.

    Attributes:
        title: what they show, with its unit.
        lines: one or more for each group.
        limits: values to mark by a horizontal line, by their label.
        logarithmic: the axis; its values are p-values.
    """

    title: str
    lines: Sequence[Line]
    limits: Mapping[str, float] = field(default_factory=dict)
    logarithmic: bool = False


def trend(
    panels: Sequence[Panel], alarms: Sequence[date], changes: Mapping[date, str]
) -> bytes | None:
    """Draw panels over the same days.

    Args:
        panels: those without a point are left out.
        alarms: days to mark in all panels.
        changes: days with what changed there (a promotion), marked as well.

    Returns:
        A PNG; None where no panel has a point.
    """
    drawn = [panel for panel in panels if any(line.points for line in panel.lines)]
    if not drawn:
        return None
    from matplotlib.figure import Figure

    rows = -(-len(drawn) // _COLUMNS)
    figure = Figure(figsize=(11, 0.6 + 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True)
    colours = _colours(drawn)
    days = [day for panel in drawn for line in panel.lines for day, _ in line.points]
    for axes, panel in zip(grid.flat, drawn, strict=False):
        _draw(axes, panel, colours)
        _mark(axes, alarms, changes)
        _over_days(axes, min(days), max(days))
    for axes in list(grid.flat)[len(drawn) :]:
        axes.axis("off")
    _legend(figure, colours, drawn, bool(alarms), changes)
    return png(figure)


def _colours(panels: Sequence[Panel]) -> dict[str, str]:
    names = dict.fromkeys(line.group for panel in panels for line in panel.lines if line.points)
    return {name: f"C{number % 10}" for number, name in enumerate(names)}


def _draw(axes: "Axes", panel: Panel, colours: Mapping[str, str]) -> None:
    for line in panel.lines:
        if line.points:
            days, values = zip(*line.points, strict=True)
            axes.plot(
                list(map(_number, days)),
                values,
                marker=".",
                linewidth=1.3,
                linestyle="--" if line.slow else "-",
                color=colours[line.group],
            )
    if panel.logarithmic:
        axes.set_yscale("log")
        shown = [
            *panel.limits.values(),
            *(value for line in panel.lines for _, value in line.points),
        ]
        axes.set_ylim(0.6 * min(shown), 1.6)
    for label, value in panel.limits.items():
        axes.axhline(value, color="0.35", linewidth=0.9, linestyle=":")
        axes.annotate(
            label,
            (0, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=7,
            color="0.35",
        )
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.grid(visible=True, alpha=0.3)


def _mark(axes: "Axes", alarms: Sequence[date], changes: Mapping[date, str]) -> None:
    for day in alarms:
        middle = _number(day)
        axes.axvspan(middle - 0.5, middle + 0.5, color=_ALARM, alpha=0.18, linewidth=0)
    for day, label in changes.items():
        axes.axvline(_number(day), color=_CHANGE, linewidth=1.1)
        axes.annotate(
            label,
            (_number(day), 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -8),
            textcoords="offset points",
            fontsize=7,
            color=_CHANGE,
        )


def _over_days(axes: "Axes", first: date, last: date) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=1, maxticks=8, interval_multiples=False)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    margin = max(0.6, 0.02 * (last - first).days)
    axes.set_xlim(_number(first) - margin, _number(last) + margin)


def _number(day: date) -> int:
    """Days since matplotlib's epoch."""
    return (day - date(1970, 1, 1)).days


def _legend(
    figure: "Figure",
    colours: Mapping[str, str],
    panels: Sequence[Panel],
    alarms: bool,
    changes: Mapping[date, str],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, marker=".", label=name) for name, colour in colours.items()
    ]
    if any(line.slow and line.points for panel in panels for line in panel.lines):
        handles.append(Line2D([], [], color="0.4", linestyle="--", label="recent days together"))
    if alarms:
        handles.append(Patch(color=_ALARM, alpha=0.18, label="alarm"))
    if changes:
        handles.append(Line2D([], [], color=_CHANGE, label="another model"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
