"""The table of decisions: which model became champion, which did not, and why."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from biometric_core.config import Config
from biometric_core.history.changes import Change, Sensor
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store

PROMOTED = "promoted"
REJECTED = "rejected"
ROLLED_BACK = "rolled_back"
SENSORS = "sensors"
"""Of `Decision.numbers`: modality and sensor of each that moved during the drift it answers."""
CHAMPION_NOW = "champion_now"
"""Of `Decision.numbers`: the version that another promoter made champion meanwhile."""
_UNTIMED = "1970-01-01T00:00:00+00:00"  # until it is written


@dataclass(frozen=True)
class Decision:
    """One decision of the gate or of a person.

    Attributes:
        decision: promoted, rejected or rolled_back.
        reason: one sentence for people.
        champion_version: the champion before the decision; None before the first.
        challenger_version: the version that was judged (rolled_back: the one that returned).
        numbers: every figure the gate looked at, JSON-able.
        decision_id: the same question about the same models and captures has the same id.
        trigger: training, drift or manual.
        drift_day: the first day of the drift that it answers, ISO 8601.
        drift_until: the last day of it that was known, ISO 8601.
        decided_at: UTC, ISO 8601.
        reused: it had been decided before, and nothing was done now.
    """

    decision: str
    reason: str
    champion_version: str | None
    challenger_version: str
    numbers: dict[str, Any] = field(default_factory=dict)
    decision_id: str = ""
    trigger: str = "manual"
    drift_day: str | None = None
    drift_until: str | None = None
    decided_at: str = ""
    reused: bool = False

    @property
    def change(self) -> Change | None:
        """The drift that it answers; of all sensors where none is on record, None without one."""
        if self.drift_day is None:
            return None
        return Change.of(date.fromisoformat(self.drift_day), self.numbers.get(SENSORS, ()))

    @property
    def answered(self) -> date | None:
        """The last day of the drift that it answers; None without one."""
        if self.drift_day is None:
            return None
        return date.fromisoformat(self.drift_until or self.drift_day)

    def answers(self, sensor: Sensor, day: date) -> bool:
        """Whether it answers what a sensor did on a day: only of those that moved is it known."""
        if self.change is None or self.answered is None or self.answered < day:
            return False
        return not self.change.sensors or sensor in self.change.sensors


def write(
    store: Store, decision: Decision, unless: Callable[[list[Decision]], bool] | None = None
) -> Decision | None:
    """Append a decision; the same id is written once.

    Without a time it gets that of now, later than all on record: clocks of machines differ, and
    the newest promotion is who is champion.

    Args:
        store: of the table.
        decision: what to write.
        unless: looks at what is on record; nothing is written where it says so. It is asked again
            where somebody else writes first: the decision then stands on the very record that was
            looked at.

    Returns:
        The decision as it is on record, `reused` where its id was there; None where `unless` holds.
    """
    written: list[Decision] = []

    def timed(_: pa.Table) -> pa.Table:
        history = read(store)
        if unless is not None and unless(history):
            raise _Unwanted
        written[:] = [replace(decision, decided_at=decision.decided_at or _now(history))]
        return _row(written[0])

    try:
        fresh = store.append_new("decisions", _row(decision), timed)
    except _Unwanted:
        return None
    if fresh:
        return written[0]
    known = (one for one in read(store) if one.decision_id == decision.decision_id)
    return replace(next(known), reused=True)


class _Unwanted(Exception):
    """Ends an attempt to write."""


def _now(history: list[Decision]) -> str:
    now = datetime.now(UTC)
    if history:
        now = max(now, datetime.fromisoformat(history[-1].decided_at) + timedelta(microseconds=1))
    return now.isoformat()


def _row(decision: Decision) -> pa.Table:
    row = {
        **asdict(decision),
        "decided_at": datetime.fromisoformat(decision.decided_at or _UNTIMED),
        "drift_day": _date(decision.drift_day),
        "drift_until": _date(decision.drift_until),
        "numbers": json.dumps(decision.numbers, sort_keys=True, allow_nan=False),
    }
    schema = TABLES["decisions"]
    return pa.table({name: [row[name]] for name in schema.names}, schema=schema)


def read(store: Store) -> list[Decision]:
    """All decisions, oldest first."""
    rows = store.read("decisions").sort_by("decided_at").to_pylist()
    return [_decision(row) for row in rows]


def _decision(row: dict[str, Any]) -> Decision:
    day, until = row["drift_day"], row["drift_until"]
    return Decision(
        decision=row["decision"],
        reason=row["reason"],
        champion_version=row["champion_version"],
        challenger_version=row["challenger_version"],
        numbers=json.loads(row["numbers"]),
        decision_id=row["decision_id"],
        trigger=row["trigger"],
        drift_day=day.isoformat() if day else None,
        drift_until=until.isoformat() if until else None,
        decided_at=row["decided_at"].isoformat(),
    )


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def changes(decisions: list[Decision]) -> list[Decision]:
    """Those that made a champion, oldest first."""
    return [one for one in decisions if one.decision in (PROMOTED, ROLLED_BACK)]


def last_change(decisions: list[Decision]) -> Decision | None:
    """The decision that made the present champion; None before the first."""
    made = changes(decisions)
    return made[-1] if made else None


def on_version(decisions: list[Decision], version: str, created_at: str) -> Decision | None:
    """The newest decision on a version as challenger; None while it waits for its first.

    Args:
        decisions: all, oldest first.
        version: its number.
        created_at: since when it is there, ISO 8601. What was decided before was decided on a
            version of that number in another registry.
    """
    since = datetime.fromisoformat(created_at)
    known = [
        one
        for one in decisions
        if one.challenger_version == version and datetime.fromisoformat(one.decided_at) >= since
    ]
    return known[-1] if known else None


def with_id(question: Decision, config: Config, history: list[Decision]) -> Decision:
    """The decision with its id: from models, captures and rules, and who reigns since when."""
    change = last_change(history)
    facts = [
        question.decision == ROLLED_BACK,
        question.champion_version,
        question.challenger_version,
        question.trigger,
        question.drift_day,
        question.numbers,
        # Who is asked decides no figure, and ids of before must stay.
        config.gate.model_dump(mode="json", exclude={"approval"}),
        config.release.model_dump(mode="json"),
        change.decision_id if change else None,
    ]
    text = json.dumps(facts, sort_keys=True)
    return replace(question, decision_id=hashlib.sha256(text.encode()).hexdigest()[:16])


def on_record(question: Decision, history: list[Decision]) -> Decision | None:
    """The decision that has answered this question, if it still stands."""
    for known in history:
        if known.decision_id == question.decision_id:
            return known
    if question.champion_version != question.challenger_version:
        return None
    made = last_change(history)
    # A task that is retried after its promotion finds its own work done.
    same = made is not None and all(
        getattr(made, name) == getattr(question, name)
        for name in ("challenger_version", "trigger", "drift_day")
    )
    if not same or made is None or made.decision != PROMOTED:
        return None
    digest = question.numbers["data_digest"]
    return made if made.numbers.get("data_digest") == digest else None
