"""The table of decisions: which model became champion, which did not, and why."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from biometric_core.config import Config
from biometric_core.history.changes import Change
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store

PROMOTED = "promoted"
REJECTED = "rejected"
ROLLED_BACK = "rolled_back"
SENSORS = "sensors"
"""Of `Decision.numbers`: modality and sensor of each that moved during the drift it answers."""


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

    def to_json(self) -> str:
        """Plain JSON; `from_json` is the inverse."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Decision":
        """Read what `to_json` gave."""
        return cls(**json.loads(text))


def write(store: Store, decision: Decision) -> None:
    """Append a decision; the same id is written once."""
    row = {
        **asdict(decision),
        "decided_at": datetime.fromisoformat(decision.decided_at),
        "drift_day": _date(decision.drift_day),
        "drift_until": _date(decision.drift_until),
        "numbers": json.dumps(decision.numbers, sort_keys=True, allow_nan=False),
    }
    schema = TABLES["decisions"]
    columns = {name: [row[name]] for name in schema.names}
    store.append_new("decisions", pa.table(columns, schema=schema))


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


def last_change(decisions: list[Decision]) -> Decision | None:
    """The decision that made the present champion; None before the first."""
    changes = [one for one in decisions if one.decision in (PROMOTED, ROLLED_BACK)]
    return changes[-1] if changes else None


def on_version(config: Config, version: str) -> Decision | None:
    """The newest decision on a version as challenger; None while it waits for its first."""
    known = [one for one in read(Store.of(config)) if one.challenger_version == version]
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
        config.gate.model_dump(mode="json"),
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
