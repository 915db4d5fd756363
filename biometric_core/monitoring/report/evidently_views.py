"""Evidently's own drift scores and views of the embeddings, beside this project's verdict.

They are for the eye and have no tests, because embeddings are clustered by identity and a stock
drift score rises whenever other people come through the door.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from biometric_core.schemas import IntArray

# Before the import: Evidently decides then whether to send telemetry.
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.io
from evidently import DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.metrics import EmbeddingsDrift, ValueDrift
from evidently.metrics.embeddings import DistanceDriftMethod
from threadpoolctl import threadpool_limits

from biometric_core.config import Monitoring
from biometric_core.monitoring.windows import Group

# Evidently draws a t-SNE of the embeddings: below this many rows there is no picture to draw.
_MIN_ROWS = 5
# Its perplexity of 30 needs more rows than that in both windows together.
_MIN_DRAWN = 20
# A t-SNE takes about half a second, whatever the number of rows.
_MOST = 6


def run(
    metrics: Sequence[Any],
    data: Mapping[str, Dataset],
    groups: Sequence[Group],
    settings: Monitoring,
    **about: Any,
) -> Snapshot:
    """Let Evidently make a day's report of this project's metrics and its own views.

    Args:
        metrics: this project's.
        data: what they take their values from.
        groups: the day's probes, for the views.
        settings: rows to draw, seed.
        about: timestamp, metadata, tags and name.
    """
    shown = _panels(groups, settings.max_report_rows, settings.seed)
    report = Report([*metrics, *_drawings(shown)], include_tests=True)
    windows = [_dataset(shown, current=current) for current in (True, False)]
    with _settled(settings.seed):
        return report.run(*windows, additional_data=dict(data), **about)


@dataclass(frozen=True)
class _Panel:
    """A group to draw: which rows of its windows, repeated where there are too few."""

    group: Group
    prefix: str
    reference: IntArray
    current: IntArray

    @property
    def columns(self) -> list[str]:
        return [f"{self.prefix} {i}" for i in range(self.group.today.probes.residual.shape[1])]

    @property
    def scores(self) -> dict[str, str]:
        return {name: f"{self.group.name}: {name}" for name in ("genuine score", "quality")}


def _panels(groups: Sequence[Group], rows: int, seed: int) -> list[_Panel]:
    """Choose what to draw: the groups with the most probes, and a sample of each.

    Args:
        groups: of the day.
        rows: embeddings to draw in all, of both windows together.
        seed: of the sample.
    """
    enough = [g for g in groups if min(_sizes(g)) >= _MIN_ROWS]
    chosen = sorted(enough, key=lambda group: -len(group.today.probes))[:_MOST]
    drawn = max(_MIN_DRAWN, rows // (2 * max(1, len(chosen))))
    rng = np.random.default_rng(seed)
    return [
        _Panel(
            group,
            f"{group.modality} {number}",
            *(_sample(rng, size, drawn) for size in _sizes(group)),
        )
        for number, group in enumerate(chosen)
    ]


def _sizes(group: Group) -> tuple[int, int]:
    return len(group.reference.probes), len(group.today.probes)


def _sample(rng: np.random.Generator, available: int, drawn: int) -> IntArray:
    """`drawn` rows, each at most once until all have been taken; Evidently wants equal lengths."""
    return np.resize(rng.permutation(available), drawn)


def _dataset(panels: Sequence[_Panel], *, current: bool) -> Dataset:
    """The rows of one window of all panels, side by side."""
    drawn = len(panels[0].current) if panels else 1
    frame: dict[str, npt.NDArray[np.float64]] = {"row": np.arange(drawn, dtype=np.float64)}
    for panel in panels:
        window = (panel.group.today if current else panel.group.reference).probes
        rows = panel.current if current else panel.reference
        embeddings = (window.residual + window.template)[rows]
        frame |= dict(zip(panel.columns, embeddings.T, strict=True))
        # A repeated row would count twice in a histogram.
        once = np.arange(drawn) < len(window)
        for name, values in (("genuine score", window.genuine), ("quality", window.quality)):
            frame[panel.scores[name]] = np.where(once, values[rows], np.nan)
    numbers = [column for panel in panels for column in panel.scores.values()]
    definition = DataDefinition(
        numerical_columns=[*numbers, "row"],
        embeddings={panel.group.name: panel.columns for panel in panels} or None,
    )
    return Dataset.from_pandas(pd.DataFrame(frame), data_definition=definition)


def _drawings(panels: Sequence[_Panel]) -> list[Any]:
    """Evidently's metrics of the panels; `tests=[]` because its thresholds are none of ours."""
    metrics: list[Any] = []
    for panel in panels:
        method = DistanceDriftMethod(dist="cosine", bootstrap=False)
        metrics += [
            ValueDrift(column=column, method="ks", tests=[]) for column in panel.scores.values()
        ]
        metrics.append(
            EmbeddingsDrift(embeddings_name=panel.group.name, drift_method=method, tests=[])
        )
    return metrics


@contextmanager
def _settled(seed: int) -> Iterator[None]:
    """Have Evidently draw the same at every run, small and without spinning threads.

    Its t-SNE takes numpy's global generator, and of so few rows gains nothing by threads; plotly's
    template would be a third of what is stored.
    """
    state, template = np.random.get_state(), plotly.io.templates.default
    np.random.seed(seed)
    plotly.io.templates.default = None
    try:
        with threadpool_limits(1):
            yield
    finally:
        plotly.io.templates.default = template
        np.random.set_state(state)
