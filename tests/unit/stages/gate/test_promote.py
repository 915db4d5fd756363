"""The gate with a real registry, real tables and real networks, good and bad."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.history import decisions
from biometric_core.promotion import ruling
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages import promote
from biometric_core.stages.rollback import rollback
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.support.promotions import roles, rows
from tests.support.tiny_store import HISTORY, changed, fill
from tests.support.untrained import register_untrained


def test_the_first_model_fit_for_release_becomes_champion(ready, caplog):
    version = register_untrained(ready, good=True)
    caplog.set_level(logging.INFO)
    made = promote.promote(ready, version=version, trigger="training")
    assert made.decision == "promoted", made.reason
    assert "no champion yet" in made.reason
    assert roles(ready) == (version, None, None)
    assert [r.decision_id for r in rows(ready)] == [made.decision_id]
    tags = registry.require(ready, version).tags
    assert tags["gate.decision"] == "promoted"
    assert not [name for name in tags if name.startswith("gate.pending")]
    assert "no champion yet" in caplog.text
    assert made.numbers["challenger"]["fused"]["eer"] < 0.3


def test_an_image_that_a_store_from_before_has_of_two_people_counts_once(ready):
    store = Store.of(ready)
    (iris,) = store.read("captures", filter=pc.field("split") == "test").slice(0, 1).to_pylist()
    (made_of_it,) = store.read(
        "features", filter=pc.field("capture_id") == iris["capture_id"]
    ).to_pylist()
    tests = store.read("captures", filter=pc.field("split") == "test")["modality"].to_pylist()
    copy = {"capture_id": "f" * 64}
    for table, row in (("captures", iris | {"subject_id": "z" * 24}), ("features", made_of_it)):
        rows = pa.Table.from_pylist([row | copy], schema=TABLES[table])
        assert store.append_new(table, rows) == 1
    made = promote.promote(ready, version=register_untrained(ready, good=True))
    assert made.numbers["captures"] == {m.value: tests.count(m.value) for m in Modality}


def test_a_model_unfit_for_release_never_becomes_champion(ready):
    strict = changed(ready, "release", max_latency_ms=1e-9)
    made = promote.promote(strict, version=register_untrained(ready, good=False))
    assert made.decision == "rejected"
    assert "not fit for release" in made.reason
    assert roles(ready) == (None, None, None)


def test_better_replaces_worse_and_worse_does_not_replace_better(ready):
    bad, good = register_untrained(ready, good=False), register_untrained(ready, good=True)
    promote.promote(ready, version=bad)
    up = promote.promote(ready, version=good)
    assert up.decision == "promoted", up.reason
    assert up.numbers["improvement"]["all"]["cllr"]["low"] > 0
    assert roles(ready) == (good, None, bad)
    again = register_untrained(ready, good=False, seed=1)
    down = promote.promote(ready, version="challenger")
    assert down.decision == "rejected"
    assert "not proven" in down.reason
    assert down.challenger_version == again
    assert roles(ready) == (good, None, bad), "a rejected challenger no longer waits"
    assert [r.decision for r in rows(ready)] == ["promoted", "promoted", "rejected"]


def test_the_same_question_is_answered_from_the_record(ready):
    good = register_untrained(ready, good=True)
    promote.promote(ready, version=good, trigger="training")
    retried = promote.promote(ready, version=good, trigger="training")
    assert (retried.decision, retried.reused) == ("promoted", True)
    asked = promote.promote(ready, version=good, trigger="manual")
    assert (asked.decision, asked.reason) == ("rejected", "already champion")
    assert registry.require(ready, good).tags["gate.decision"] == "promoted"
    worse = register_untrained(ready, good=False)
    first, second = (promote.promote(ready, version=worse) for _ in range(2))
    assert (first.reused, second.reused) == (False, True)
    assert first.decision_id == second.decision_id
    assert len(rows(ready)) == 3


def test_new_captures_ask_the_question_anew(ready):
    promote.promote(ready, version=register_untrained(ready, good=True))
    worse = register_untrained(ready, good=False)
    first = promote.promote(ready, version=worse)
    fill(ready, subjects=36, noise=40.0)
    second = promote.promote(ready, version=worse)
    assert not second.reused
    assert second.decision_id != first.decision_id


def test_models_of_two_settings_are_compared_each_on_its_own_preparation(ready):
    older = register_untrained(ready, good=False)
    promote.promote(ready, version=older)
    now = changed(ready, "preprocess", iris_shape=(16, 64))
    fill(now, subjects=32, noise=40.0)
    version = register_untrained(now, good=True)
    found = promote._test_sets(now, Store.of(now), version, None)
    before = promote.open_question(
        older,
        version,
        trigger="manual",
        drift_day=None,
        as_of=None,
        numbers={"data_digest": promote._data_digest(found), "approved_by": None},
    )
    rejected = decisions.with_id(before, now, rows(now))
    reason = "the champion needs captures prepared as 2-16x32-16x16, but they are made as others"
    told = {"decision": "rejected", "reason": reason, "decided_at": HISTORY.isoformat()}
    decisions.write(Store.of(now), replace(rejected, **told))

    made = promote.promote(now, version=version)
    assert not made.reused, "a rejection for the preparation is no answer any more"
    assert made.decision == "promoted", made.reason
    assert made.numbers["preparations"] == {
        "challenger": "2-16x64-16x16",
        "champion": "2-16x32-16x16",
    }
    lost = made.numbers["failures_to_acquire"]
    assert {of["champion"] + of["challenger"] for of in lost.values()} == {0}
    assert promote.promote(now, version=version).reused


def test_after_drift_old_and_new_captures_are_judged_apart(ready):
    promote.promote(ready, version=register_untrained(ready, good=False))
    good = register_untrained(ready, good=True)
    day = HISTORY + timedelta(days=2)
    fill(ready, subjects=32, impressions=range(5, 8), day=day, sensor="new", noise=40.0)
    made = promote.promote(ready, version=good, trigger="drift", drift_day=day.date())
    assert made.decision == "promoted", made.reason
    assert made.reason.startswith("after drift")
    assert set(made.numbers["improvement"]) == {"all", "new", "old"}
    assert rows(ready)[-1].drift_day == "2026-01-03"
    assert made.trigger == "drift"


@pytest.mark.parametrize("joined", [False, True], ids=["one day", "another a day later"])
def test_the_changed_sensors_are_those_that_the_drift_table_names(ready, joined):
    promote.promote(ready, version=register_untrained(ready, good=False))
    good = register_untrained(ready, good=True)
    day = HISTORY + timedelta(days=2)
    for sensor, impressions in (("default", range(5, 7)), ("new", range(7, 9))):
        fill(ready, subjects=32, impressions=impressions, day=day, sensor=sensor, noise=40.0)
    row = {"day": day.date(), "model_version": "1", "modality": "fingerprint"}
    row |= {"sensor": "new"}
    moved = row | {"statistic": "residual_t2", "verdict": "alarm"}
    calm = row | {"statistic": "residual_t2", "verdict": "calm", "sensor": "default"}
    later = moved | {"day": day.date() + timedelta(days=1), "modality": "iris"}
    told = pa.Table.from_pylist([moved, calm, *([later] if joined else [])], schema=TABLES["drift"])
    Store.of(ready).append_new("drift", told)
    seen, real = [], ruling.Change.changed

    def remembered(self, captures):
        found = real(self, captures)
        seen.append((captures.modality, set(captures.sensor[found]), int(found.sum())))
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ruling.Change, "changed", remembered)
        made = promote.promote(
            ready,
            version=good,
            trigger="drift",
            drift_day=day.date(),
            as_of=day + timedelta(days=2),
        )
    # Eight test people; where irises did not move, all of theirs are old.
    irises = ({"new"}, 16) if joined else (set(), 0)
    assert sorted(seen) == [(Modality.FINGERPRINT, {"new"}, 16), (Modality.IRIS, *irises)]
    assert made.decision == "promoted", made.reason
    assert registry.require(ready, good).tags["drift_day"] == "2026-01-03"
    assert rows(ready)[-1].numbers == made.numbers
    sensors = [("fingerprint", "new"), *([("iris", "new")] if joined else [])]
    assert rows(ready)[-1].change == ruling.Change.of(day.date(), sensors)


def test_the_decision_is_told_with_all_its_numbers_in_table_tags_and_log(ready, caplog):
    promote.promote(ready, version=register_untrained(ready, good=False), trigger="training")
    caplog.set_level(logging.INFO)
    made = promote.promote(ready, version=register_untrained(ready, good=True), trigger="training")
    tags = registry.require(ready, made.challenger_version).tags
    assert json.loads(tags["gate.numbers"]) == rows(ready)[-1].numbers == made.numbers
    assert (tags["gate.trigger"], tags["gate.reason"]) == ("training", made.reason)
    assert "drift_day" not in tags
    figures = made.numbers["improvement"]["all"]["cllr"]
    assert set(figures) == {"champion", "challenger", "value", "low", "high"}
    assert "min_improvement" not in made.reason
    assert f'"worth": {round(made.numbers["improvement"]["all"]["worth"], 5)}' in caplog.text


def test_figures_that_a_version_brings_along_are_not_believed(ready):
    good, bad = register_untrained(ready, good=True), register_untrained(ready, good=False)
    promote.promote(ready, version=good)
    registry.tag(ready, bad, {"iris_eer": "0", "fingerprint_eer": "0", "fused_eer": "0"})
    assert promote.promote(ready, version=bad).decision == "rejected"


def test_rollback_brings_the_bundle_of_before_back(ready):
    bad, good = register_untrained(ready, good=False), register_untrained(ready, good=True)
    promote.promote(ready, version=bad)
    before, _ = registry.load_recogniser(ready, "champion")
    promote.promote(ready, version=good)
    rollback(ready, reason="complaints")
    after, version = registry.load_recogniser(ready, "champion")
    assert version == bad
    one, other = (model.net.state_dict() for model in (before, after))
    assert all(one[name].equal(other[name]) for name in one)
    assert (before.calibration, before.thresholds) == (after.calibration, after.thresholds)


def test_captures_after_as_of_are_not_looked_at(ready):
    good = register_untrained(ready, good=True)
    day = HISTORY + timedelta(days=2)
    fill(ready, subjects=32, impressions=range(5, 8), day=day, noise=40.0)
    made = promote.promote(ready, version=good, as_of=day)
    assert made.numbers["captures"] == {"iris": 32, "fingerprint": 32}


def test_too_few_subjects_never_promote(ready):
    made = promote.promote(
        changed(ready, "gate", min_subjects=9), version=register_untrained(ready, good=True)
    )
    assert made.decision == "rejected"
    assert "gate.min_subjects is 9" in made.reason
