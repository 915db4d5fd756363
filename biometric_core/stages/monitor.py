"""The daily verdict: has what the sensors deliver moved away from what the champion knows?"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from biometric_core.config import Config
from biometric_core.errors import DataError, ModelError
from biometric_core.history.drift_table import (
    CONFIRMED,
    DAY,
    TESTED,
    JudgedDay,
    Outcome,
    Row,
    judged_days,
    read_rows,
    rows_of,
)
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.loading import load_groups
from biometric_core.monitoring.scoring_model import ScoringModel, scoring_model
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.watched import WATCHED_SOURCES, WatchedDay, unwatched, watched_days
from biometric_core.monitoring.windows import Group
from biometric_core.schemas import TABLES
from biometric_core.stages.score import score
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LateDay:
    """An earlier day that was judged, or judged again, because captures of it came late.

    Attributes:
        day: ISO 8601.
        verdict: of now; None where it could not be judged.
        before: the verdict that it replaced; None where the day had none.
        alarm: a drift is confirmed, and the earlier verdict didn't say so: the alert is to be sent.
        p_value, report, model_version: as in `MonitorResult`.
        reason: one sentence for people; why it could not be judged.
    """

    day: str
    verdict: str | None
    before: str | None
    alarm: bool
    p_value: float | None
    reason: str
    report: str | None
    model_version: str | None


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
        verdict: calm, partly_tested, suspect, alarm, standing (told before) or
            not_enough_subjects.
        reason: one sentence for people.
        before: the verdict on the day that this one replaced; None where it is the first.
        late: earlier days that runs of this day have judged because captures came late, the oldest
            first; a dict of `LateDay` each.
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
    before: str | None = None
    late: list[dict[str, Any]] = field(default_factory=list)


@owner_only()
def monitor(config: Config, *, day: date, force: bool = False) -> MonitorResult:
    """Judge a day's captures against the champion's reference, and write the report.

    Only captures of `watched.WATCHED_SOURCES` are judged. A day is judged once: later calls return
    what is stored, whoever is champion by then, unless its captures have changed. What is not
    scored yet is scored first. Before it, the days of `monitoring.late_days` are looked at again:
    one whose captures changed is judged again, one that has no verdict gets it. Replaced verdicts
    stay in the table.

    Args:
        config: thresholds, storage and registry.
        day: the UTC day.
        force: judge the day again, by the model that served it.

    Raises:
        ModelError: there is no champion.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached; the day then has no verdict, and a retry gives one.
    """
    store = Store.of(config)
    first = day - timedelta(days=config.monitoring.late_days)
    seen = {one.day: one for one in watched_days(store, first, day)}
    judged = {one.day: one for one in judged_days(store, first, day)}
    now, before = seen.pop(day, None), judged.get(day)
    problems: list[LateDay] = []
    for late, one in seen.items():
        if _outdated(one, judged.get(late)):
            problems += _judge_late(store, config, one, judged.get(late), day)
    if before and not force and not (now and _outdated(now, before)):
        result = _stored(store, config, day)
    else:
        result = _judge(store, config, day, now, before, run_day=day)
    told = [*_late(store, config, first, day), *problems]
    return replace(result, late=[asdict(one) for one in sorted(told, key=lambda one: one.day)])


def _outdated(seen: WatchedDay, judged: JudgedDay | None) -> bool:
    """Whether a day has no verdict, or one by other captures.

    Of a verdict from before there were digests nobody knows: it stays.
    """
    return judged is None or judged.captures_digest not in (None, seen.digest)


def _judge_late(
    store: Store, config: Config, seen: WatchedDay, before: JudgedDay | None, run_day: date
) -> Iterator[LateDay]:
    """Judge an earlier day; what is wrong with it must not blind the days after."""
    try:
        model = scoring_model(config, store, seen.day)
        if before or not model.known(store, seen.capture_id, seen.captured_at).all():
            _judge(store, config, seen.day, seen, before, run_day=run_day)
    except (DataError, ModelError) as error:
        _log.error("%s: captures came late, and it can't be judged: %s", seen.day, error)
        told = before.verdict if before else None
        yield LateDay(seen.day.isoformat(), None, told, False, None, str(error), None, None)


def _late(store: Store, config: Config, first: date, run_day: date) -> Iterator[LateDay]:
    """The earlier days whose newest verdict a run of this day has found.

    From the table: a run that was cut short and is done again tells the same.
    """
    for judged in judged_days(store, first, run_day - timedelta(days=1)):
        if judged.run_day == run_day:
            found = _stored(store, config, judged.day)
            alarm = found.alarm and found.before not in CONFIRMED
            names = ("day", "verdict", "before", "p_value", "reason", "report", "model_version")
            yield LateDay(alarm=alarm, **{name: getattr(found, name) for name in names})


def _judge(
    store: Store,
    config: Config,
    day: date,
    seen: WatchedDay | None,
    before: JudgedDay | None,
    *,
    run_day: date,
) -> MonitorResult:
    model = scoring_model(config, store, day)
    if before:
        # A capture that came late changes who is enrolled and who is a probe.
        current = f"\"window\" = 'current' AND model_version = '{model.version}'"
        store.delete("probes", f"day = '{day.isoformat()}' AND {current}")
    score(config, day=day, model=model)
    groups = load_groups(store, config, day, model)
    if not groups:
        reason = _nothing(store, day)
        _log.info("%s: no verdict: %s", day, reason)
        return MonitorResult(
            *(day.isoformat(), False, None, None, model.version, [], False),
            *(Outcome.NOT_ENOUGH.value, reason),
        )
    common = {
        "captures_digest": seen.digest if seen else None,
        "revision": before.revision + 1 if before else 1,
        "run_day": run_day,
    }
    return _judged(store, config, day, model, groups, before, common)


def _nothing(store: Store, day: date) -> str:
    """Why a day has no verdict."""
    others = unwatched(store, day)
    told = f"no captures came through the {' or the '.join(WATCHED_SOURCES)} on this day"
    if not others:
        return told
    return (
        f"{told}; {others} of a training source are not watched (what came through a door is taken "
        "in with `biometric ingest --kind inbox`, or from storage.inbox)"
    )


def _judged(
    store: Store,
    config: Config,
    day: date,
    model: ScoringModel,
    groups: Sequence[Group],
    before: JudgedDay | None,
    common: dict[str, Any],
) -> MonitorResult:
    from biometric_core.monitoring.report.writing import (
        write_report,  # Evidently takes seconds to import
    )

    verdicts = judge_day(groups, config.monitoring, day)
    told = day_alarm(verdicts, _history(store, model.version, day), config.monitoring, day)
    verdicts.append(told.row(config.monitoring))
    report = write_report(store, config, day, model.version, groups, verdicts, replaced=before)
    common |= {"day": day, "model_version": model.version, "report": report}
    records = [asdict(verdict) for verdict in verdicts]
    # The rows come last: a day with rows is a day that is done.
    if not _keep(store, [record | common for record in records]):
        return _stored(store, config, day)
    result = _result(day, model.version, report, records, reason=told.reason, reused=False)
    result = replace(result, before=before.verdict if before else None)
    _log_verdict(result)
    return result


def _keep(store: Store, rows: list[Row]) -> bool:
    """Add a verdict to those there are; False where another monitor judged the day meanwhile."""
    judged_at = {"judged_at": datetime.now(UTC)}
    table = pa.Table.from_pylist([row | judged_at for row in rows], schema=TABLES["drift"])

    def whole(fresh: pa.Table) -> pa.Table:
        return fresh if len(fresh) == len(rows) else fresh.slice(0, 0)

    return store.append_new("drift", table, whole) > 0


def _history(store: Store, version: str, day: date) -> list[Row]:
    """What the same model found on earlier days, as rows of the `drift` table."""
    earlier = read_rows(store, last=day - timedelta(days=1))
    return [row for row in earlier if row["model_version"] == version]


def _stored(store: Store, config: Config, day: date) -> MonitorResult:
    """The stored verdict; of the newest model where the day was judged by several."""
    (judged,) = judged_days(store, day, day)
    version = judged.model_version
    records = rows_of(store, day, version=version)
    verdicts = [Verdict(**{n: row[n] for n in Verdict.__dataclass_fields__}) for row in records]
    found = [verdict for verdict in verdicts if verdict.statistic != DAY]
    told = day_alarm(found, _history(store, version, day), config.monitoring, day)
    if len(found) == len(verdicts):  # judged before days as a whole were kept
        verdicts.append(told.row(config.monitoring))
    result = _result(
        *(day, version, judged.report, [asdict(verdict) for verdict in verdicts]),
        reason=told.reason,
        reused=True,
    )
    return replace(result, before=judged.replaced)


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
    changed = result.before not in (None, result.verdict)
    _log.log(
        logging.WARNING if result.alarm or changed else logging.INFO,
        "%s: %s%s: %s; report %s",
        *(result.day, result.verdict, f" (it was {result.before})" if result.before else ""),
        *(result.reason, result.report),
    )


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
