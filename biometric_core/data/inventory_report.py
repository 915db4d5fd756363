"""The data report: what was taken in, refused and prepared. It names nobody and shows no image."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from biometric_core.data.inventory import DataFigures, ModalityData
from biometric_core.reporting.canvas import MATED, panels, save, single
from biometric_core.reporting.page import page, templates
from biometric_core.reporting.sections import Picture, Section, Table
from biometric_core.reporting.words import NOTHING, label, number
from biometric_core.schemas import Modality

_BINS = 40
_MOST = 20  # more impressions of one eye or finger than that share a bar

TITLE = "Data report"
_PERCENTILES = (5, 50, 95)
_QUALITY_COLUMNS = ("measure", "mean", *(f"{p} %" for p in _PERCENTILES))


def data_report(
    found: DataFigures, gates: Sequence[Sequence[str]], facts: Mapping[str, str]
) -> str:
    """The report as one HTML page with its pictures.

    Args:
        found: what the tables hold.
        gates: rows of gate, of what, value, limit, verdict.
        facts: what was looked at, when and by which version.
    """
    with TemporaryDirectory(prefix="biometric-") as scratch:
        folder = Path(scratch)
        parts = [part for part in _sections(found, gates, facts, folder) if part]
        template = templates().get_template("sections.md.jinja")
        text = template.render(title=TITLE, lead=_lead(found), sections=parts)
        return page(text, TITLE, folder)


def _lead(found: DataFigures) -> str:
    return (
        f"{found.captures:,} captures of {found.subjects:,} people; "
        f"{sum(found.refused.values()):,} files were refused."
    )


def _sections(
    found: DataFigures,
    gates: Sequence[Sequence[str]],
    facts: Mapping[str, str],
    folder: Path,
) -> Iterator[Section]:
    yield Section("Gates", [], [Table(("gate", "of", "value", "limit", "verdict"), gates)])
    yield Section("Counts", [], [_counts(found)])
    for modality, data in found.modalities.items():
        yield _modality(modality, data, folder)
    yield _refused(found, folder)
    yield Section("What was looked at", [], [Table(("", ""), [*map(list, facts.items())])])


def _counts(found: DataFigures) -> Table:
    """One column a modality."""
    rows: list[tuple[str, Sequence[object]]] = []
    every = list(found.modalities.values())
    for name in ("subjects", "captures"):
        rows.append((name, [getattr(data, name) for data in every]))
    rows.append(("eyes or fingers", [len(data.impressions) for data in every]))
    for name, of in (("fewest", np.min), ("median", np.median), ("most", np.max)):
        title = f"captures of an eye or finger, {name}"
        rows.append((title, [float(of(data.impressions)) for data in every]))
    rows.append(("prepared or failed to acquire", [data.attempted for data in every]))
    rows.append(("failure-to-acquire rate", [data.failure_share for data in every]))
    shown = [[title, *(number(_unit(title), value) for value in values)] for title, values in rows]
    return Table(("", *(label(modality) for modality in found.modalities)), shown)


def _unit(title: str) -> str:
    return "rate" if title.endswith("rate") else title


def _modality(modality: Modality, data: ModalityData, folder: Path) -> Section:
    quality = Table(_QUALITY_COLUMNS, [_quality(*item) for item in data.measures.items()])
    tables = [quality, _table(("sensor", "captures"), data.sensors)]
    tables.append(_table(("split", "subjects"), data.splits))
    drawn = [
        _draw_quality(modality, data, folder / f"{modality}_quality.png"),
        _draw_impressions(modality, data, folder / f"{modality}_impressions.png"),
    ]
    if data.failures:
        tables.append(_table(("failure to acquire", "captures"), data.failures))
        title = f"Failures to acquire: {modality}"
        drawn.append(_draw_reasons(title, data.failures, folder / f"{modality}_failures.png"))
    pictures = [Picture(path.stem.replace("_", " "), path.name) for path in drawn]
    return Section(label(modality).capitalize(), [], [t for t in tables if t.rows], pictures)


def _quality(name: str, values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> list[str]:
    if not len(values):
        return [name, *[NOTHING] * (1 + len(_PERCENTILES))]
    figures = [values.mean(dtype=np.float64), *np.percentile(values, _PERCENTILES)]
    return [name, *(f"{figure:.3g}" for figure in figures)]


def _table(columns: Sequence[str], counts: Mapping[str, int]) -> Table:
    return Table(columns, [[_code(str(name)), f"{count:,}"] for name, count in counts.items()])


def _refused(found: DataFigures, folder: Path) -> Section:
    tables, pictures = [], []
    if found.refused:
        tables.append(_table(("reason", "files"), found.refused))
        path = _draw_reasons("Refused files", found.refused, folder / "refused.png")
        pictures.append(Picture("refused files by reason", path.name))
        rows = [
            [_code(e.reason), _code(e.file), f"{e.bytes:,}", _code(e.detail)]
            for e in found.examples
        ]
        tables.append(Table(("examples: reason", "file id", "bytes", "detail"), rows))
    note = f"{found.clutter:,} further files are no part of a data set (clutter)."
    return Section("Refused files", [note], tables, pictures)


def _code(text: str) -> str:
    """Text from outside as a code span: nothing in it is read as Markdown."""
    plain = re.sub(r"[`\s]+", " ", text).strip()
    return f"`{plain}`" if plain else NOTHING


def _draw_quality(name: str, data: ModalityData, path: Path) -> Path:
    """Histograms of all measures of a modality; a dashed line at the median.

    Args:
        name: for the title.
        data: of the modality.
        path: the PNG to write.
    """
    measured = {measure: values for measure, values in data.measures.items() if len(values)}
    figure, axes = panels(max(1, len(measured)), 12, 3.2)
    for one, (measure, values) in zip(axes, measured.items(), strict=False):
        one.hist(values, bins=_BINS, color=MATED, alpha=0.8)
        one.axvline(float(np.median(values)), linestyle="--", color="black", linewidth=1)
        one.set(xlabel=measure, ylabel="captures")
    figure.suptitle(f"Quality: {name}")
    return save(figure, path)


def _draw_impressions(name: str, data: ModalityData, path: Path) -> Path:
    """How many eyes or fingers have how many captures."""
    figure, axes = single("captures", "eyes or fingers", f"Captures of an eye or finger: {name}")
    figure.set_size_inches(6, 3.2)
    values = np.minimum(data.impressions, _MOST)
    found, number = np.unique(values, return_counts=True)
    axes.bar(found, number, color=MATED)
    axes.set_xlim(0, found.max() + 1)
    axes.set_xticks(found, [f"{n} or more" if n == _MOST else str(n) for n in found])
    return save(figure, path)


def _draw_reasons(title: str, counts: Mapping[str, int], path: Path) -> Path:
    """Counts by reason as bars, the most frequent on top."""
    figure, axes = single("files", "", title)
    figure.set_size_inches(7, 1.0 + 0.35 * len(counts))
    names = [reason.replace("_", " ") for reason in counts]
    bars = axes.barh(names, list(counts.values()), color=MATED)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    return save(figure, path)
