"""From one preprocessing to the next, with the store and the champion of the release before.

That release is a copy of the package whose algorithm is another (`support.earlier_release`). It
runs in processes of its own: its stages at first, then its bundle's code for the release of now.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from biometric_core.config import Config, load_config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.monitoring.windows import CURRENT
from biometric_core.schemas import Modality
from biometric_core.stages.evaluate import EvaluateResult, evaluate
from biometric_core.stages.ingest import ingest
from biometric_core.stages.monitor import MonitorResult, monitor
from biometric_core.stages.predict import predict
from biometric_core.stages.preprocess import PreprocessResult, preprocess
from biometric_core.stages.promote import promote
from biometric_core.stages.register import register
from biometric_core.stages.rollback import rollback
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import bundle, registry, runs
from tests.support.drawn_captures import draw_eye, draw_finger
from tests.support.drawn_source import drawn_config
from tests.support.earlier_release import earlier_release, run_release
from tests.support.tiny_store import changed, database

pytestmark = pytest.mark.long

PEOPLE, HISTORY, DAY = 24, datetime(2026, 1, 1, 12, tzinfo=UTC), date(2026, 1, 5)
BEGIN = """
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.stages.promote import promote
from biometric_core.stages.register import register
from biometric_core.stages.train import train
ingest(config, source=arguments[0], captured_at=datetime.fromisoformat(arguments[1]))
preprocess(config)
run = train(config).run_id
made = promote(config, version=register(config, run_id=run).version, trigger="training")
assert made.decision == "promoted", made.reason
print(run)
"""
PREPARE = """
from biometric_core.stages.preprocess import preprocess
print(preprocess(config))
"""


def visit(folder: Path, impression: int, people: int = PEOPLE) -> Path:
    """An eye and a finger of everybody, or of some, once more."""
    for kind in ("iris", "fingerprint"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for person in range(1, people + 1):
        rng = np.random.default_rng([person, impression])
        x, y, turn = *(150 + rng.uniform(-8, 8, 2)), rng.uniform(-3, 3)
        circles = {"pupil": (x, y - 30, 21.0), "limbus": (x + 1, y - 31, 54.0)}
        eye = draw_eye(eye=person, **circles, seed=impression)
        finger = draw_finger(period=7 + 0.25 * person, turn=turn)
        for kind, name, image in (("iris", "L", eye), ("fingerprint", "L_thumb", finger)):
            cv2.imwrite(str(folder / kind / f"{person:03d}_{name}_{impression:02d}.png"), image)
    return folder


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@dataclass
class Story:
    """What happened, in its order."""

    config: Config
    earlier: str
    code: Path
    without_code: PreprocessResult
    refused: list[str]
    prepared: PreprocessResult
    judged: MonitorResult
    evaluated: EvaluateResult
    predicted: list[dict[str, Any]]
    features: dict[str, dict[str, dict[str, Any]]]
    made: decisions.Decision
    then: PreprocessResult
    returned: MonitorResult
    by_hand: MonitorResult


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Iterator[Story]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOMETRIC_PSEUDONYM_KEY", "the same people in the same splits, every time")
        yield told(tmp_path_factory.mktemp("upgrade"))


def told(folder: Path) -> Story:
    tracking = {"tracking_uri": database(folder), "artifact_root": str(folder / "artifacts")}
    config = drawn_config(
        load_config("test", {"storage": {"root": str(folder / "data")}, "mlflow": tracking})
    )
    config = changed(config, "training", pretrained=False, epochs=4, width=8, embedding_dim=16)
    for impression in (1, 2, 3):
        visit(folder / "history", impression)
    release = earlier_release(folder / "release")
    source = str(folder / "history")
    old_run = run_release(release, config, BEGIN, source, HISTORY.isoformat())

    today = str(visit(folder / "today", 4))
    ingest(config, source=today, captured_at=at(DAY), kind="inbox")
    code = runs.download(config, old_run, bundle.CODE)
    refused = []
    aside = code.rename(code.with_name("aside"))
    without_code = preprocess(config)
    challenger = register(config, run_id=train(config, as_of=at(DAY)).run_id).version
    for does in (
        lambda: monitor(config, day=DAY),
        lambda: promote(config, version=challenger, trigger="training"),
        lambda: predict(config, source=today, out=str(folder / "none.parquet")),
    ):
        with pytest.raises(ModelError) as error:
            does()
        refused.append(str(error.value))
    refused.append(str(len(Store.of(config).read("drift"))))
    aside.rename(code)

    prepared = preprocess(config)
    judged = monitor(config, day=DAY)
    evaluated = evaluate(config, run_id=old_run)
    predict(config, source=today, out=str(folder / "out.parquet"), embeddings=True)
    made = promote(config, version=challenger, trigger="training")
    then = preprocess(config)
    features: dict[str, dict[str, dict[str, Any]]] = {}
    for row in Store.of(config).read("features").to_pylist():
        features.setdefault(row["preprocess_version"], {})[row["capture_id"]] = row

    rollback(config, reason="for the test")
    tomorrow = DAY + timedelta(days=1)
    ingest(config, source=str(visit(folder / "next", 5)), captured_at=at(tomorrow), kind="inbox")
    returned = monitor(config, day=tomorrow)

    code.rename(aside)
    last = DAY + timedelta(days=2)
    ingest(config, source=str(visit(folder / "last", 6, 12)), captured_at=at(last), kind="inbox")
    run_release(release, config, PREPARE)
    by_hand = monitor(config, day=last)
    aside.rename(code)
    return Story(
        config=config,
        earlier=preprocess_version(config).replace("2-", "1-", 1),
        code=code,
        without_code=without_code,
        refused=refused,
        prepared=prepared,
        judged=judged,
        evaluated=evaluated,
        predicted=pq.read_table(folder / "out.parquet").to_pylist(),
        features=features,
        made=made,
        then=then,
        returned=returned,
        by_hand=by_hand,
    )


def test_what_nothing_here_can_prepare_is_said_and_training_goes_on(story):
    assert story.without_code.prepared == 2 * 4 * PEOPLE, "prepared for the model to come"
    assert story.without_code.champion == {}
    *errors, verdicts = story.refused
    for line in errors:
        assert f"prepared as {story.earlier}" in line
        assert "Run `biometric preprocess` of the release that trained it" in line
        assert "\n" not in line
    assert verdicts == "0", "no verdict on captures that are prepared otherwise"
    gate = decisions.read(Store.of(story.config))
    assert [one.decision for one in gate] == ["promoted", "promoted", "rolled_back"], "not rejected"


def test_captures_are_prepared_for_the_champion_and_for_the_model_to_come(story):
    assert story.prepared.version == preprocess_version(story.config)
    assert story.prepared.champion == {story.earlier: 2 * PEOPLE}, "those of the new day"
    assert set(story.features) == {story.earlier, story.prepared.version}
    old, new = story.features[story.earlier], story.features[story.prepared.version]
    assert old.keys() == new.keys()
    assert all(row["failure"] is None for row in old.values())
    levels = {name: len(set(row["image"])) for name, row in old.items()}
    assert max(levels.values()) <= 4, "as only the code of the release before makes them"
    assert min(len(set(row["image"])) for row in new.values()) > 4


def test_nothing_is_written_into_the_bundle(story):
    assert not list(story.code.rglob("__pycache__"))


def test_monitoring_judges_by_the_champions_own_preparation(story):
    assert story.judged.model_version == "1"
    assert story.judged.verdict == "calm"
    store = Store.of(story.config)
    recogniser, _ = registry.load_recogniser(story.config, "1")
    sets = load_captures(store, story.config, prepared_by=story.earlier)
    of_day = (pc.field("window") == CURRENT) & (pc.field("model_version") == "1")
    for modality in Modality:
        own = store.read("probes", filter=of_day & (pc.field("modality") == modality.value))
        probes = {row["capture_id"]: row["embedding"] for row in own.to_pylist()}
        captures = sets[modality].select(np.isin(sets[modality].capture_id, list(probes)))
        assert len(captures) == len(probes) >= PEOPLE
        expected = np.array([probes[name] for name in captures.capture_id])
        assert np.allclose(recogniser.embed_set(captures), expected, atol=1e-5)


def test_an_earlier_run_is_evaluated_and_its_model_predicts_as_it_was_trained(story):
    assert story.evaluated.metrics["fta"]["iris"]["failed"] == 0
    assert story.evaluated.metrics["iris"]["eer"] is not None
    card = Path(story.evaluated.cards[-1]).read_text("utf-8")
    assert story.earlier in card
    assert len(story.predicted) == 2 * PEOPLE
    assert {row["failure"] for row in story.predicted} == {None}
    stored = Store.of(story.config).read(
        "probes", filter=(pc.field("window") == CURRENT) & (pc.field("model_version") == "1")
    )
    known = np.array(stored["embedding"].to_pylist())
    for row in story.predicted:
        assert np.abs(known - np.array(row["embedding"])).max(axis=1).min() < 1e-4


def test_the_gate_measures_each_on_its_own_and_promotes(story):
    assert story.made.decision == "promoted", story.made.reason
    versions = {"champion": story.earlier, "challenger": story.prepared.version}
    assert story.made.numbers["preparations"] == versions
    lost = story.made.numbers["failures_to_acquire"]
    assert lost["iris"]["champion"] == lost["iris"]["challenger"] == 0
    assert lost["iris"]["captures"] > 0
    tags = registry.require(story.config, story.made.challenger_version).tags
    assert tags["preprocess_version"] == story.prepared.version


def test_once_promoted_nothing_is_prepared_for_the_one_before(story):
    assert story.then.champion == {}


def test_after_a_rollback_the_days_are_prepared_for_the_model_that_returned(story):
    assert story.returned.model_version == "1"
    assert story.returned.verdict in ("calm", "suspect"), "its own preparation is no drift"
    later = pc.field("preprocess_version") == story.earlier
    rows = Store.of(story.config).read("features", ["capture_id"], later)
    assert len(rows) == 2 * 5 * PEOPLE + 2 * 12


def test_where_the_code_does_not_run_the_release_before_prepares_for_it(story):
    assert (story.by_hand.model_version, story.by_hand.reused) == ("1", False)
    assert story.by_hand.verdict != "not_enough_subjects"
