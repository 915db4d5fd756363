"""The daily verdict: has what the sensors deliver moved away from what the champion knows?"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.history.drift_table import DAY, TESTED, Outcome
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.loading import load_groups
from biometric_core.monitoring.scoring_model import ScoringModel, scoring_model
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.windows import Group
from biometric_core.schemas import TABLES
from biometric_core.stages.score import score
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MonitorResult:
    """The verdict on a day.

    Attributes:
        day: ISO 8601.
        alarm: a drift is confirmed and has not been told before: the alert is to be sent.
        p_value: the smallest corrected one; None where no group had enough subjects.
        report: the HTML report, relative to the storage root; None where the day has no captures.
        model_version: the champion that looked at the day.
        verdicts: a dict of `verdicts.Verdict` each.
        reused: the day had been judged before; nothing was computed.
        verdict: calm, suspect, alarm, standing (told before) or not_enough_subjects.
        reason: one sentence for people.
    """

    day: str
    alarm: bool
    p_value: float | None
    report: str | None
    model_version: str
    verdicts: list[dict[str, Any]]
    reused: bool
    verdict: str
    reason: str


@owner_only()
def monitor(config: Config, *, day: date, force: bool = False) -> MonitorResult:
    """Judge a day's captures against the champion's reference, and write the report.

    A day is judged once: later calls return what is stored, whoever is champion by then. What is
    not scored yet is scored first.

    Args:
        config: thresholds, storage and registry.
        day: the UTC day.
        force: judge again, by the model that served, and replace what is stored for the day.

    Raises:
        ModelError: there is no champion.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached; the day then has no verdict, and a retry gives one.
    """
    store = Store.of(config)
    stored = store.read("drift", filter=pc.field("day") == day)
    if stored.num_rows and not force:
        return _stored(store, config, stored)
    model = scoring_model(config, store, day)
    if force:
        # A capture that came late changes who is enrolled and who is a probe.
        of_model = f"\"window\" = 'current' AND model_version = '{model.version}'"
        store.delete("probes", f"{_of(day)} AND {of_model}")
    score(config, day=day, model=model)
    groups = load_groups(store, config, day, model)
    if not groups:
        _log.info("%s: no captures, no verdict", day)
        reason = "no captures"
        return MonitorResult(
            *(day.isoformat(), False, None, None, model.version, [], False),
            *(Outcome.NOT_ENOUGH.value, reason),
        )
    return _judged(store, config, day, model, groups)


def _judged(
    store: Store, config: Config, day: date, model: ScoringModel, groups: Sequence[Group]
) -> MonitorResult:
    from biometric_core.monitoring.report.writing import (
        write_report,  # Evidently takes seconds to import
    )

    verdicts = judge_day(groups, config.monitoring, day)
    told = day_alarm(verdicts, _history(store, model.version, day), config.monitoring, day)
    verdicts.append(told.row(config.monitoring))
    report = write_report(store, config, day, model.version, groups, verdicts)
    # The rows come last: a day with rows is a day that is done.
    store.replace("drift", _rows(day, model.version, report, verdicts), _of(day))
    records = [asdict(verdict) for verdict in verdicts]
    result = _result(day, model.version, report, records, reason=told.reason, reused=False)
    _log_verdict(result)
    return result


def _history(store: Store, version: str, day: date) -> list[dict[str, Any]]:
    """What the same model found on earlier days, as rows of the `drift` table."""
    earlier = (pc.field("model_version") == version) & (pc.field("day") < day)
    rows: list[dict[str, Any]] = store.read("drift", filter=earlier).to_pylist()
    return rows


def _rows(day: date, version: str, report: str, verdicts: Sequence[Verdict]) -> pa.Table:
    common = {"day": day, "model_version": version, "report": report}
    records = [asdict(verdict) | common for verdict in verdicts]
    return pa.Table.from_pylist(records, schema=TABLES["drift"])


def _of(day: date) -> str:
    return f"day = '{day.isoformat()}'"


def _stored(store: Store, config: Config, rows: pa.Table) -> MonitorResult:
    """The stored verdict; of the newest model where the day was judged by several."""
    version = max(rows["model_version"].to_pylist(), key=lambda text: (len(text), text))
    records = rows.filter(pc.equal(rows["model_version"], version)).to_pylist()
    verdicts = [Verdict(**{n: row[n] for n in Verdict.__dataclass_fields__}) for row in records]
    day = records[0]["day"]
    found = [verdict for verdict in verdicts if verdict.statistic != DAY]
    told = day_alarm(found, _history(store, version, day), config.monitoring, day)
    if len(found) == len(verdicts):  # judged before days as a whole were kept
        verdicts.append(told.row(config.monitoring))
    return _result(
        *(day, version, records[0]["report"], [asdict(verdict) for verdict in verdicts]),
        reason=told.reason,
        reused=True,
    )


def _result(
    day: date,
    version: str,
    report: str | None,
    verdicts: list[dict[str, Any]],
    *,
    reason: str,
    reused: bool,
) -> MonitorResult:
    whole = next(verdict for verdict in verdicts if verdict["statistic"] == DAY)
    return MonitorResult(
        day=day.isoformat(),
        alarm=whole["verdict"] == Outcome.ALARM,
        p_value=whole["p_value"],
        report=report,
        model_version=version,
        verdicts=verdicts,
        reused=reused,
        verdict=whole["verdict"],
        reason=reason,
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
    level = logging.WARNING if result.alarm else logging.INFO
    _log.log(
        level, "%s: %s: %s; report %s", result.day, result.verdict, result.reason, result.report
    )


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
