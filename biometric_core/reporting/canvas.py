"""What all pictures share: size, colours, and how a file is written."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from biometric_core.storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATED, NON_MATED = "#1b7837", "#762a83"
STYLES = ("-", "--", "-.", ":")
_DPI = 110


def panels(columns: int, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    """A figure of `columns` axes side by side, sizes in inches."""
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state, and stages may run in threads.
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for one in axes:
        one.grid(visible=True, alpha=0.3)
    return figure, axes


def single(x: str, y: str, title: str) -> tuple["Figure", "Axes"]:
    """A figure of one panel with these labels."""
    figure, (axes,) = panels(1, 6, 5)
    axes.set(xlabel=x, ylabel=y, title=title)
    return figure, axes


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG; the same figure gives the same bytes."""
    atomic_write(path, png(figure))
    return path


def png(figure: "Figure") -> bytes:
    """A figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
