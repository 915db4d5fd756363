"""One day of 1,000 probes, d = 256: how long judging and reporting it take, and how much memory.

The tables hold invented embeddings, clustered by eye and finger; everything else is real: Delta,
tests, Evidently's report, MLflow. Runs in a process of its own, so that the peak is its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.rows import Row, at_most, peak_mib, run_apart
from biometric_core.config import Config, load_config
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.monitoring.scoring_model import ScoringModel
from biometric_core.monitoring.windows import CURRENT, REFERENCE
from biometric_core.schemas import TABLES, Float64Array, Modality
from biometric_core.storage.store import Store

PROBES, DIMENSIONS = 1_000, 256
_KNOWN, _DAYS_BEFORE, _REPEATS = 600, 3, 5
_FIRST = date(2026, 1, 5)


def rows(scratch: Path) -> list[Row]:
    """Median seconds and highest peak of several days, each in a process of its own."""
    folders = [scratch / str(number) for number in range(_REPEATS)]
    told = [run_apart("benchmarks.drift.cost_of_a_day", str(folder)) for folder in folders]
    seconds = float(np.median([one["seconds"] for one in told]))
    peak = max(one["peak_mib"] for one in told)
    details = {"runs": [one["seconds"] for one in told], "parts": told[0]["parts"]}
    name = f"a day of {PROBES} scored probes, d = {DIMENSIONS}"
    return [
        at_most(f"{name}: judged, reported and logged", seconds, 10, "s", **details),
        at_most(f"{name}: peak memory, imports included", peak, 1024, "MiB"),
    ]


def _fill(config: Config) -> None:
    """A reference of known people, some days before, and the day; half of the probes each kind."""
    rng = np.random.default_rng(71)
    store = Store.of(config)
    people = PROBES // (2 * len(Modality))
    days = [_FIRST.toordinal() + offset for offset in range(_DAYS_BEFORE + 1)]
    plan = [(REFERENCE, days[0] - 1, np.arange(_KNOWN), 1)]
    plan += [(CURRENT, day, rng.permutation(_KNOWN + people)[:people], 2) for day in days]
    tables: dict[str, list[pa.Table]] = {"captures": [], "features": [], "probes": []}
    for modality in Modality:
        centres = rng.normal(size=(_KNOWN + people, DIMENSIONS))
        for window, ordinal, who, times in plan:
            chosen = np.repeat(who, times)
            columns = _columns(config, modality, window, date.fromordinal(ordinal), chosen)
            columns |= _compared(centres[chosen], rng)
            for name, made in tables.items():
                made.append(_table(name, columns, len(chosen)))
    for name, made in tables.items():
        store.append_new(name, pa.concat_tables(made))


def _columns(
    config: Config, modality: Modality, window: str, day: date, who: np.ndarray
) -> dict[str, Any]:
    names = [f"p{number:05}" for number in who]
    ids = [f"{modality}-{window}-{day}-{number}" for number in range(len(who))]
    return {
        "capture_id": ids,
        "subject_id": names,
        "modality": [modality.value] * len(who),
        "position": ["left"] * len(who),
        "sensor": ["default"] * len(who),
        "captured_at": [datetime(day.year, day.month, day.day, 9, tzinfo=UTC)] * len(who),
        "source": ["inbox"] * len(who),
        "split": ["test"] * len(who),
        "preprocess_version": [preprocess_version(config)] * len(who),
        "model_version": ["1"] * len(who),
        "window": [window] * len(who),
        "day": [day] * len(who),
        "trained_on": [False] * len(who),
    }


def _compared(centres: Float64Array, rng: np.random.Generator) -> dict[str, Any]:
    size = DIMENSIONS**-0.5
    residual = rng.normal(size=centres.shape) * size
    genuine = rng.normal(12, 3, len(centres))
    measures = {name: rng.uniform(0.4, 0.6, len(centres)) for name in ("quality", "sharpness")}
    gray = {
        "contrast": rng.normal(50, 5, len(centres)),
        "brightness": rng.normal(150, 9, len(centres)),
    }
    vectors = {"embedding": list(centres * size + residual), "residual": list(residual)}
    return {**vectors, "genuine_score": genuine, **measures, **gray}


def _table(name: str, columns: Mapping[str, Any], count: int) -> pa.Table:
    none = [None] * count
    arrays = [pa.array(columns.get(f.name, none), f.type, from_pandas=True) for f in TABLES[name]]
    return pa.Table.from_arrays(arrays, schema=TABLES[name])


def _measure(config: Config) -> dict[str, Any]:
    import sklearn.covariance  # noqa: F401  (imports don't count)

    from biometric_core.monitoring.alarms import day_alarm
    from biometric_core.monitoring.loading import load_groups
    from biometric_core.monitoring.report.writing import write_report
    from biometric_core.monitoring.verdicts import judge_day
    from biometric_core.tracking.client import mlflow_client

    with mlflow_client(config, "make a database") as client:
        client.get_experiment_by_name("none")
    store, day = Store.of(config), date.fromordinal(_FIRST.toordinal() + _DAYS_BEFORE)
    start = datetime(_FIRST.year, _FIRST.month, _FIRST.day, tzinfo=UTC)
    model = ScoringModel("1", start, None, preprocess_version(config))
    times = [time.perf_counter()]
    groups = load_groups(store, config, day, model)
    times.append(time.perf_counter())
    verdicts = judge_day(groups, config.monitoring, day)
    told = day_alarm(verdicts, [], config.monitoring, day)
    times.append(time.perf_counter())
    write_report(store, config, day, "1", groups, [*verdicts, told.row(config.monitoring)])
    times.append(time.perf_counter())
    if sum(len(group.today.probes) for group in groups) != PROBES:
        raise RuntimeError("the day has lost probes")
    parts = dict(zip(("read", "judge", "report"), np.diff(times).round(2).tolist(), strict=True))
    return {
        "seconds": round(times[-1] - times[0], 2),
        "parts": parts,
        "peak_mib": int(peak_mib()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in this process, with everything imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    places = {
        "storage": {"root": str(folder / "data"), "work": str(folder / "work")},
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(overrides=places)
    _fill(config)
    print(json.dumps(_measure(config)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
