"""How well people are recognised: DET, score distributions, CMC, confusion."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from biometric_core.matching.error_rates import cmc, det_curve
from biometric_core.reporting.canvas import MATED, NON_MATED, STYLES, save, single
from biometric_core.schemas import Float64Array, IntArray

if TYPE_CHECKING:
    from biometric_core.matching.comparisons import Comparisons

_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6)
_LIMITS = (0.00005, 0.7)


def det(comparisons: Mapping[str, "Comparisons"], path: Path) -> Path | None:
    """DET curves on normal-deviate axes (ISO/IEC 19795-1), one for each name; None without any.

    A rate of zero is drawn at half of one comparison: what was observed can't show less.
    """
    figure, axes = single("FMR", "FNMR", "Detection error trade-off")
    drawn = False
    for number, (name, scored) in enumerate(comparisons.items()):
        curve = det_curve(scored.scores, scored.mated)
        if curve is None:
            continue
        fmr = np.maximum(curve.fmr, 0.5 / scored.n_non_mated)
        fnmr = np.maximum(curve.fnmr, 0.5 / scored.n_mated)
        style = STYLES[number % len(STYLES)]
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
    return save(figure, path)


def score_distributions(name: str, scored: "Comparisons", path: Path) -> Path | None:
    """Histograms of mated and non-mated scores, each of area 1; None without comparisons."""
    if not len(scored):
        return None
    figure, axes = single(
        "score (of fused features a cosine, else a log-likelihood ratio)",
        "density",
        f"Scores: {name}",
    )
    bins = np.linspace(scored.scores.min(), scored.scores.max() + 1e-9, 61)
    for label, chosen, color in (
        ("mated", scored.mated, MATED),
        ("non-mated", ~scored.mated, NON_MATED),
    ):
        if chosen.any():
            text = f"{label} ({int(chosen.sum()):,})"
            scores = scored.scores[chosen]
            axes.hist(scores, bins.tolist(), density=True, alpha=0.6, color=color, label=text)
    axes.legend()
    return save(figure, path)


def cumulative_match(ranks: Mapping[str, IntArray], path: Path, depth: int = 20) -> Path | None:
    """Cumulative match characteristic of each name; None where nobody was looked for."""
    figure, axes = single("rank", "share of probes found", "Cumulative match characteristic")
    known = {name: found for name, found in ranks.items() if len(found)}
    for number, (name, found) in enumerate(known.items()):
        style = STYLES[number % len(STYLES)]
        axes.plot(np.arange(1, depth + 1), cmc(found, depth), style, label=name)
    if not known:
        return None
    axes.set_xlim(1, depth)
    axes.legend()
    return save(figure, path)


def confusion(counts: IntArray, path: Path) -> Path:
    """Confusion matrix (C, C) as an image; classes are numbered, never named."""
    figure, axes = single("predicted subject", "true subject", "Closed-set classification")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    axes.grid(visible=False)
    figure.colorbar(image, label="share of the subject's probes")
    return save(figure, path)


def _probit(rates: Float64Array) -> Float64Array:
    return np.asarray(ndtri(np.clip(rates, 1e-7, 1 - 1e-7)), dtype=np.float64)
