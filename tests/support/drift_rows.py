"""Rows of the `drift` table as the monitor leaves them behind: few people carry no real ones."""

from datetime import date
from typing import Any

import pyarrow as pa

from biometric_core.history.drift_table import ALL, DAY, GENUINE_SHIFT
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store


def write_verdict(
    store: Store,
    day: date,
    verdict: str = "alarm",
    *,
    version: str = "1",
    modality: str = "iris",
    sensor: str = "default",
    shift: float = -2.0,
    report: str = "reports/none.html",
    **columns: Any,
) -> None:
    """A verdict on a day: of one modality and sensor whose scores have moved, and of the day.

    `columns` are those that older versions left empty: revision, captures_digest, run_day.
    """
    p_value = {"alarm": 0.001, "standing": 0.001, "suspect": 0.015}.get(verdict, 0.5)
    common: dict[str, Any] = {"day": day, "model_version": version, "report": report, **columns}
    tested = common | {"p_value": p_value, "threshold": 0.01, "subjects": 12}
    # The cooldown is the day's: of the modality a standing alarm is an alarm.
    own = "alarm" if verdict == "standing" else verdict
    group = {"modality": modality, "sensor": sensor, "statistic": GENUINE_SHIFT, "value": shift}
    whole = {"modality": ALL, "sensor": ALL, "statistic": DAY, "value": None}
    rows = [tested | group | {"verdict": own}, tested | whole | {"verdict": verdict}]
    table = pa.Table.from_pylist(rows, schema=TABLES["drift"])
    assert store.append_new("drift", table) == len(rows)
