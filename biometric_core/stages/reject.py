"""A person, or the lack of an answer, turns a challenger down."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.history.decisions import Decision
from biometric_core.promotion.switch import mark, open_question, record, standing, with_sensors
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import registry


@owner_only()
def reject(
    config: Config,
    *,
    version: str,
    reason: str,
    trigger: str = "manual",
    drift_day: date | None = None,
    as_of: datetime | None = None,
) -> Decision:
    """Record that a person turned a challenger down, or didn't answer; no figure is measured.

    The decision answers the drift like one of the gate does: it is not trained for again.

    Args:
        config: names registry and store.
        version: a version number or alias, usually the challenger's.
        reason: who and why; goes on record.
        trigger: training, drift or manual; goes on record.
        drift_day: the first day of the drift that the challenger was to answer.
        as_of: the challenger was trained on captures before.

    Raises:
        ModelError: there is no such version.
        ServiceError: MLflow can't be reached.
    """
    found = standing(config)
    challenger = registry.require(config, version).version
    about: dict[str, Any] = {"trigger": trigger, "drift_day": drift_day, "as_of": as_of}
    question = open_question(found.champion, challenger, **about, numbers={"asked": "a person"})
    decision = decisions.with_id(replace(question, reason=reason), config, found.history)
    for known in found.history:
        if known.decision_id == decision.decision_id:
            mark(config, known)  # cut off between the row and the tags
            return replace(known, reused=True)
    return record(config, with_sensors(Store.of(config), decision))
