"""Pictures of an evaluation, as PNG files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from biometric_core.metrics import IntArray, cmc, det_curve
from biometric_core.schemas import Float64Array
from biometric_core.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from biometric_core.match import Comparisons

_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6)
_LIMITS = (0.00005, 0.7)
_DPI = 110
_MATED, _NON_MATED = "#1b7837", "#762a83"
_STYLES = ("-", "--", "-.", ":")


def det(comparisons: Mapping[str, "Comparisons"], path: Path) -> Path | None:
    """DET curves on normal-deviate axes (ISO/IEC 19795-1), one for each name; None without any.

    A rate of zero is drawn at half of one comparison: what was observed can't show less.
    """
    figure, axes = _figure("FMR", "FNMR", "Detection error trade-off")
    drawn = False
    for number, (name, scored) in enumerate(comparisons.items()):
        curve = det_curve(scored.scores, scored.mated)
        if curve is None:
            continue
        fmr = np.maximum(curve.fmr, 0.5 / scored.n_non_mated)
        fnmr = np.maximum(curve.fnmr, 0.5 / scored.n_mated)
        style = _STYLES[number % len(_STYLES)]
        axes.step(_probit(fmr), _probit(fnmr), style, where="post", label=name)
        drawn = True
    if not drawn:
        return None
    ticks = _probit(np.array(_TICKS))
    labels = [f"{100 * tick:g} %" for tick in _TICKS]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    low, high = _probit(np.array(_LIMITS))
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.plot([low, high], [low, high], color="0.8", linewidth=0.8)
    axes.legend()
    return _save(figure, path)


def score_distributions(name: str, scored: "Comparisons", path: Path) -> Path | None:
    """Histograms of mated and non-mated scores, each of area 1; None without comparisons."""
    if not len(scored):
        return None
    figure, axes = _figure("score (log-likelihood ratio)", "density", f"Scores: {name}")
    bins = np.linspace(scored.scores.min(), scored.scores.max() + 1e-9, 61)
    for label, chosen, color in (
        ("mated", scored.mated, _MATED),
        ("non-mated", ~scored.mated, _NON_MATED),
    ):
        if chosen.any():
            text = f"{label} ({int(chosen.sum()):,})"
            scores = scored.scores[chosen]
            axes.hist(scores, bins.tolist(), density=True, alpha=0.6, color=color, label=text)
    axes.legend()
    return _save(figure, path)


def cumulative_match(ranks: Mapping[str, IntArray], path: Path, depth: int = 20) -> Path | None:
    """Cumulative match characteristic of each name; None where nobody was looked for."""
    figure, axes = _figure("rank", "share of probes found", "Cumulative match characteristic")
    known = {name: found for name, found in ranks.items() if len(found)}
    for number, (name, found) in enumerate(known.items()):
        style = _STYLES[number % len(_STYLES)]
        axes.plot(np.arange(1, depth + 1), cmc(found, depth), style, label=name)
    if not known:
        return None
    axes.set_xlim(1, depth)
    axes.legend()
    return _save(figure, path)


def confusion(counts: IntArray, path: Path) -> Path:
    """Confusion matrix (C, C) as an image; classes are numbered, never named."""
    figure, axes = _figure("predicted subject", "true subject", "Closed-set classification")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    axes.grid(visible=False)
    figure.colorbar(image, label="share of the subject's probes")
    return _save(figure, path)


def _figure(x: str, y: str, title: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    # No pyplot: it keeps global state, and stages may run in threads.
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _probit(rates: Float64Array) -> Float64Array:
    return np.asarray(ndtri(np.clip(rates, 1e-7, 1 - 1e-7)), dtype=np.float64)


def _save(figure: "Figure", path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    atomic_write(path, buffer.getvalue())
    return path
