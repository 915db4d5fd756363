"""The switch of the champion: one of several wins, and what is cut off is finished."""

import threading
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from biometric_core.errors import ModelError, ServiceError
from biometric_core.history import decisions
from biometric_core.promotion import switch
from biometric_core.schemas import TABLES
from biometric_core.stages import promote
from biometric_core.stages.rollback import rollback
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.support.promotions import roles, rows
from tests.support.tiny_store import changed
from tests.support.untrained import register_untrained


def test_rollback_swaps_and_a_version_rolled_back_is_judged_anew(ready):
    bad, good = register_untrained(ready, good=False), register_untrained(ready, good=True)
    promote.promote(ready, version=bad)
    with pytest.raises(ModelError, match="nothing to go back to"):
        rollback(ready, reason="none there")
    promote.promote(ready, version=good)
    back = rollback(ready, reason="complaints from the gate at the airport")
    assert (back.decision, back.champion_version, back.challenger_version) == (
        "rolled_back",
        good,
        bad,
    )
    assert roles(ready) == (bad, None, good)
    assert rows(ready)[-1].reason == "complaints from the gate at the airport"
    again = promote.promote(ready, version=good)
    assert (again.decision, again.reused) == ("promoted", False)
    assert roles(ready) == (good, None, bad)


def test_of_two_promoters_at_once_one_wins_and_both_decisions_are_recorded(ready, monkeypatch):
    pair = [register_untrained(ready, good=True, seed=seed) for seed in (0, 1)]
    barrier, real = threading.Barrier(2), promote._judge

    def together(*arguments):
        verdict = real(*arguments)
        barrier.wait(60)
        return verdict

    monkeypatch.setattr(promote, "_judge", together)
    threads = [
        threading.Thread(target=promote.promote, args=(ready,), kwargs={"version": version})
        for version in pair
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {row.decision: row for row in rows(ready)}
    assert len(rows(ready)) == 2
    champion = registry.champion_version(ready)
    assert found["promoted"].challenger_version == champion
    said = f"champion changed meanwhile: it was none, now it is version {champion}"
    assert found["rejected"].reason == said
    assert found["rejected"].numbers["champion_now"] == champion
    assert found["rejected"].challenger_version != champion


@pytest.mark.parametrize("cut_off", ["write", "set_champion", "mark", "untag"])
def test_a_switch_that_was_cut_off_is_finished_by_the_next_call(ready, monkeypatch, cut_off):
    good = register_untrained(ready, good=True)

    def killed(*arguments, **named):
        raise ServiceError("killed")

    where = {"write": decisions, "mark": switch}.get(cut_off, registry)
    with monkeypatch.context() as patched:
        patched.setattr(where, cut_off, killed)
        with pytest.raises(ServiceError):
            promote.promote(ready, version=good, trigger="training")
    assert [row.decision for row in rows(ready)] == ([] if cut_off == "write" else ["promoted"])
    moved = cut_off in ("mark", "untag")
    assert registry.champion_version(ready) == (good if moved else None)
    made = promote.promote(ready, version=good, trigger="training")
    assert made.decision == "promoted"
    assert [row.decision for row in rows(ready)] == ["promoted"]
    assert roles(ready) == (good, None, None)
    tags = registry.require(ready, good).tags
    assert not [name for name in tags if name.startswith("gate.pending")]


def test_a_champion_that_was_set_by_hand_is_taken_as_it_is_and_said(ready, caplog):
    bad, good = register_untrained(ready, good=False), register_untrained(ready, good=True)
    promote.promote(ready, version=bad)
    other = register_untrained(ready, good=False, seed=1)
    registry.set_alias(ready, "champion", other)
    made = promote.promote(ready, version=good)
    assert (made.decision, made.champion_version) == ("promoted", other), made.reason
    assert "somebody moved the alias by hand" in caplog.text
    assert f"champion is version {other}, but by the decisions on record" in caplog.text
    assert registry.champion_version(ready) == good
    assert registry.require(ready, "previous").version == other


def test_two_clocks_do_not_change_who_was_promoted_last(ready):
    bad, good = register_untrained(ready, good=False), register_untrained(ready, good=True)
    promote.promote(ready, version=bad)
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    (row,) = Store.of(ready).read("decisions").to_pylist()
    row["decided_at"] = datetime.fromisoformat(ahead)  # as by a clock that is two hours ahead
    table = pa.Table.from_pylist([row], schema=TABLES["decisions"])
    Store.of(ready).replace("decisions", table, "true")
    promote.promote(ready, version=good)
    assert decisions.last_change(rows(ready)).challenger_version == good
    assert rows(ready)[-1].decided_at > ahead


def test_mlflow_away_leaves_the_champion_alone(ready, monkeypatch):
    good = register_untrained(ready, good=True)
    promote.promote(ready, version=good)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = changed(ready, "mlflow", tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ServiceError):
        promote.promote(away, version="challenger")
    assert registry.champion_version(ready) == good


def test_unknown_versions_are_named(ready):
    with pytest.raises(ModelError, match="'41'"):
        promote.promote(ready, version="41")


def test_a_decision_survives_the_table(tmp_path):
    store = Store(tmp_path)
    made = decisions.Decision(
        decision="rejected",
        reason="why",
        champion_version=None,
        challenger_version="3",
        numbers={"improvement": {"all": {"low": None}}},
        decision_id="abc",
        trigger="drift",
        drift_day=date(2026, 1, 3).isoformat(),
        decided_at="2026-01-03T10:00:00.000001+00:00",
    )
    decisions.write(store, made)
    decisions.write(store, made)
    assert decisions.read(store) == [made]
