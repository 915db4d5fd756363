"""Which model judges a day: the one that served it, by the clock of decisions and that of data."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import pyarrow as pa
import pytest

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.monitoring.scoring_model import scoring_model
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.tracking.client import mlflow_client
from tests.support.tiny_store import small

Change = tuple[str, str, str | None, datetime]
"""Decision, the version that became champion, the one before, and when."""


@pytest.fixture
def registered(config: Config) -> Config:
    """Versions 1, 2 and 3, trained on captures up to the 2nd, 8th and 15th of January."""
    config = small(config)
    with runs.run(config, name="r", tags={}) as run:
        pass
    for end in (2, 8, 15):
        tags = {"as_of": datetime(2026, 1, end, tzinfo=UTC).isoformat(), "preprocess_version": "1"}
        registry.create_version(config, run.run_id, tags)
    return config


def jan(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def reigned(config: Config, changes: Sequence[Change]) -> None:
    """Decisions as the gate leaves them behind, and the registry's champion."""
    for number, (decision, version, before, when) in enumerate(changes):
        row = {
            "decision_id": str(number),
            "decided_at": when,
            "decision": decision,
            "reason": "for the test",
            "trigger": "training",
            "champion_version": before,
            "challenger_version": version,
            "numbers": "{}",
        }
        rows = pa.Table.from_pylist([row], schema=TABLES["decisions"])
        Store.of(config).append_new("decisions", rows)
    registry.set_alias(config, registry.CHAMPION, changes[-1][1])


def judges(config: Config, *days: int) -> list[str]:
    """The version that judges each day of January, which may have no captures yet."""
    store = Store.of(config)
    return [scoring_model(config, store, date(2026, 1, day)).version for day in days]


def test_a_day_that_is_made_up_for_is_judged_by_the_model_that_served_it(registered):
    reigned(
        registered,
        [("promoted", "1", None, jan(2, 6)), ("promoted", "2", "1", jan(8, 6))],
    )
    # Nobody served on the 1st. On the 8th the new one came in the morning.
    assert judges(registered, 1, 2, 3, 7, 8, 9, 20) == ["1", "1", "1", "1", "1", "2", "2"]


def test_a_model_that_was_decided_on_late_has_not_served_the_days_before(registered):
    reigned(
        registered,
        [("promoted", "1", None, jan(2, 6)), ("promoted", "2", "1", jan(20, 6))],
    )
    assert judges(registered, 9, 20, 21) == ["1", "1", "2"]


@pytest.mark.parametrize("year", [2025, 2027], ids=["days to come", "days long ago"])
def test_of_days_at_another_time_than_the_decisions_the_clock_of_the_data_tells(registered, year):
    now = datetime.combine(date(year, 6, 1), time(), UTC)
    reigned(
        registered,
        [("promoted", "1", None, now), ("promoted", "2", "1", now.replace(hour=1))],
    )
    assert judges(registered, 1, 2, 7, 8, 9) == ["1", "1", "1", "2", "2"]


def test_a_model_that_returned_serves_from_the_next_day_on(registered):
    reigned(
        registered,
        [
            ("promoted", "1", None, jan(2, 6)),
            ("promoted", "2", "1", jan(8, 6)),
            ("rolled_back", "1", "2", jan(10, 6)),
            ("promoted", "3", "1", jan(15, 6)),
        ],
    )
    assert judges(registered, 9, 10, 11, 15, 16) == ["2", "2", "1", "1", "3"]


def test_a_champion_that_was_set_by_hand_serves_since_the_last_decision(registered):
    reigned(
        registered,
        [("promoted", "1", None, jan(2, 6)), ("promoted", "2", "1", jan(8, 6))],
    )
    registry.set_alias(registered, registry.CHAMPION, "1")
    assert judges(registered, 7, 8, 9) == ["1", "1", "1"]
    registry.set_alias(registered, registry.CHAMPION, "3")
    assert judges(registered, 7, 9, 14, 15) == ["1", "2", "2", "3"]


def test_a_champion_from_before_decisions_were_made_served_before_the_first(registered):
    reigned(registered, [("promoted", "2", "1", jan(8, 6))])
    assert judges(registered, 7, 9) == ["1", "2"]


def test_a_model_that_was_deleted_since_judges_no_more(registered):
    reigned(
        registered,
        [
            ("promoted", "1", None, jan(2, 6)),
            ("promoted", "2", "1", jan(8, 6)),
            ("promoted", "3", "2", jan(15, 6)),
        ],
    )
    with mlflow_client(registered, "delete a version") as client:
        client.delete_model_version(registered.mlflow.model_name, "2")
    assert judges(registered, 9, 16) == ["1", "3"]


def test_without_a_champion_nobody_judges(registered):
    with pytest.raises(ModelError, match="champion"):
        judges(registered, 9)
