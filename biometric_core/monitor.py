"""The daily verdict: has what the sensors deliver moved away from what the champion knows?"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core import drift
from biometric_core.config import Config
from biometric_core.drift import Window
from biometric_core.schemas import TABLES, identity_of
from biometric_core.score import CURRENT, REFERENCE, Acquisition, acquisition, score
from biometric_core.store import Store
from biometric_core.tracking.registry import require
from biometric_core.verdicts import TESTED, Group, Outcome, Verdict, judge

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MonitorResult:
    """The verdict on a day.

    Attributes:
        day: ISO 8601.
        alarm: at least one modality and sensor has drifted.
        p_value: the smallest corrected one; None where no group had enough subjects.
        report: the HTML report, relative to the storage root; None where the day has no captures.
        model_version: the champion that looked at the day.
        verdicts: a dict of `verdicts.Verdict` each.
        reused: the day had been judged before; nothing was computed.
    """

    day: str
    alarm: bool
    p_value: float | None
    report: str | None
    model_version: str
    verdicts: list[dict[str, Any]]
    reused: bool


def monitor(config: Config, *, day: date, force: bool = False) -> MonitorResult:
    """Judge a day's captures against the champion's reference, and write the report.

    A day is judged once: later calls return what is stored, whoever is champion by then. What is
    not scored yet is scored first.

    Args:
        config: thresholds, storage and registry.
        day: the UTC day.
        force: judge again with the champion of now, and replace what is stored for it.

    Raises:
        ModelError: there is no champion.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached; the day then has no verdict, and a retry gives one.
    """
    store = Store.of(config)
    stored = store.read("drift", filter=pc.field("day") == day)
    if stored.num_rows and not force:
        return _stored(stored)
    from biometric_core.report import write_report  # Evidently takes seconds to import

    if force:
        # A capture that came late changes who is enrolled and who is a probe.
        champion = require(config, "champion").version
        store.delete(
            "probes", f"{_of(day)} AND \"window\" = 'current' AND model_version = '{champion}'"
        )
    scored = score(config, day=day)
    version = scored.model_version
    groups = load_groups(store, config, day, version)
    if not groups:
        _log.info("%s: no captures, no verdict", day)
        return MonitorResult(day.isoformat(), False, None, None, version, [], False)
    verdicts = judge(groups, config.monitoring, day)
    report = write_report(store, config, day, version, groups, verdicts)
    # The rows come last: a day with rows is a day that is done.
    store.replace("drift", _rows(day, version, report, verdicts), _of(day))
    result = _result(day.isoformat(), version, report, [asdict(v) for v in verdicts], reused=False)
    _log_verdict(result)
    return result


def load_groups(store: Store, config: Config, day: date, version: str) -> list[Group]:
    """The day's probes by modality and sensor, each with its part of the reference.

    The reference of a sensor is that sensor's own where it carries enough subjects, else the whole
    of the modality: a sensor nobody has seen is compared with those that are known.
    """
    by_version = pc.field("model_version") == version
    reference = store.read("probes", filter=by_version & (pc.field("window") == REFERENCE))
    during = (pc.field("window") == CURRENT) & (pc.field("day") == day)
    current = store.read("probes", filter=by_version & during)
    counts = acquisition(store, config, day)
    return [_group(reference, current, count, config.monitoring.min_subjects) for count in counts]


def _group(reference: pa.Table, current: pa.Table, count: Acquisition, enough: int) -> Group:
    of_modality = reference.filter(pc.equal(reference["modality"], count.modality))
    of_sensor = of_modality.filter(pc.equal(of_modality["sensor"], count.sensor))
    own = current.filter(
        pc.and_(
            pc.equal(current["modality"], count.modality),
            pc.equal(current["sensor"], count.sensor),
        )
    )
    group = Group(
        modality=count.modality,
        sensor=count.sensor,
        reference=window(of_sensor),
        current=window(own),
        unidentified=own["residual"].null_count,
        captures=count.captures,
        failed=count.failed,
    )
    if drift.design(group.reference, group.current).subjects >= enough:
        return group
    return replace(group, reference=window(of_modality))


def window(probes: pa.Table) -> Window:
    """Rows of `probes` whose identity is enrolled, as arrays; in the order of the capture id."""
    rows = probes.filter(pc.is_valid(probes["residual"])).sort_by("capture_id")
    columns = (rows[name].to_pylist() for name in ("subject_id", "modality", "position"))
    identity = [identity_of(*row) for row in zip(*columns, strict=True)]
    residual = _vectors(rows["residual"])
    return Window(
        subject=np.array(rows["subject_id"].to_pylist(), dtype=np.str_),
        identity=np.array(identity, dtype=np.str_),
        trained_on=np.array(rows["trained_on"].to_pylist(), dtype=np.bool_),
        residual=residual,
        template=_vectors(rows["embedding"]) - residual,
        genuine=rows["genuine_score"].to_numpy().astype(np.float64),
        quality=rows["quality"].to_numpy().astype(np.float64),
    )


def _vectors(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    flat = pc.list_flatten(column).to_numpy().astype(np.float64)
    return flat.reshape(len(column), -1) if len(column) else np.zeros((0, 0))


def _rows(day: date, version: str, report: str, verdicts: Sequence[Verdict]) -> pa.Table:
    common = {"day": day, "model_version": version, "report": report}
    records = [asdict(verdict) | common for verdict in verdicts]
    return pa.Table.from_pylist(records, schema=TABLES["drift"])


def _of(day: date) -> str:
    return f"day = '{day.isoformat()}'"


def _stored(rows: pa.Table) -> MonitorResult:
    """The stored verdict; of the newest model where the day was judged by several."""
    version = max(rows["model_version"].to_pylist(), key=lambda text: (len(text), text))
    records = rows.filter(pc.equal(rows["model_version"], version)).to_pylist()
    names = Verdict.__dataclass_fields__
    verdicts = [{name: record[name] for name in names} for record in records]
    day = records[0]["day"].isoformat()
    return _result(day, version, records[0]["report"], verdicts, reused=True)


def _result(
    day: str, version: str, report: str | None, verdicts: list[dict[str, Any]], *, reused: bool
) -> MonitorResult:
    tested = [v["p_value"] for v in verdicts if v["statistic"] in TESTED]
    return MonitorResult(
        day=day,
        alarm=any(v["verdict"] == Outcome.ALARM for v in verdicts),
        p_value=min((p for p in tested if p is not None), default=None),
        report=report,
        model_version=version,
        verdicts=verdicts,
        reused=reused,
    )


def _log_verdict(result: MonitorResult) -> None:
    for verdict in result.verdicts:
        if verdict["statistic"] in TESTED:
            _log.info(
                "%s %s, sensor %s: %s %s (value %s, corrected p %s, %d subjects)",
                *(result.day, verdict["modality"], verdict["sensor"], verdict["statistic"]),
                *(verdict["verdict"], _short(verdict["value"]), _short(verdict["p_value"])),
                verdict["subjects"],
            )
    if result.alarm:
        _log.warning("%s: drift alarm, p %s; report %s", result.day, result.p_value, result.report)


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
