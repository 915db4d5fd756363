import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from biometric_core.config import load_config
from biometric_core.errors import DataError, ModelError
from biometric_core.evaluation.figures import NAMES, NO_MATED_PAIR, evaluate_sets, scored
from biometric_core.schemas import Modality
from biometric_core.stages.evaluate import _test_sets, evaluate, flattened
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from tests.support.drawn_source import drawn_config, drawn_source
from tests.support.tiny_store import changed, small
from tests.support.toys import toy_config, toy_set, toy_sets

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT
CARDS = {"performance_card.md", "performance_card.html", "model_card.md"}
FIGURES = {"eer", "fnmr_at_fmr_0.01", "fnmr_at_fmr_0.001", "rank1"}


@pytest.fixture(scope="module")
def config():
    return toy_config(epochs=8).model_copy(update={"evaluation": load_config("test").evaluation})


@pytest.fixture(scope="module")
def recogniser(config):
    validation = toy_sets(8, first=20)
    return recogniser_of(fit(toy_sets(8), validation, config), validation, config)


@pytest.fixture(scope="module")
def unseen():
    return {IRIS: toy_set(IRIS, 12, first=40, positions=2), FINGER: toy_set(FINGER, 12, first=40)}


@pytest.fixture(scope="module")
def found(recogniser, unseen, config):
    return evaluate_sets(recogniser, unseen, config)


def test_one_image_of_two_people_is_measured_once():
    captures = toy_set(Modality.IRIS, 3)
    again = captures.select(np.array([0, 1, 2, 3, 0]))
    again.split[:] = "test"
    again.subject_id[4] = "somebody else"
    (measured,) = _test_sets({Modality.IRIS: again}, [], datetime(2100, 1, 1)).values()
    assert measured.capture_id.tolist() == again.capture_id[:4].tolist()


def test_every_name_has_every_figure(found):
    assert set(found) == {*NAMES, "combinations", "reasons"}
    for name in NAMES:
        assert set(found[name]) >= FIGURES | {"n_mated", "n_non_mated", "n_subjects", "intervals"}
        assert found[name]["n_subjects"] == 12
        low, high = found[name]["intervals"]["eer"]
        assert 0 <= low <= found[name]["eer"] <= high <= 1
    json.dumps(found, allow_nan=False)


def test_numbers_of_comparisons(found):
    # 12 subjects x 2 positions x 3 captures; visits: 12 x 3
    assert found["iris"]["n_mated"] == 24 * 3
    assert found["iris"]["n_mated"] + found["iris"]["n_non_mated"] == 72 * 71 // 2
    assert found["fused"]["n_mated"] == 12 * 3
    assert found["fused"]["n_mated"] + found["fused"]["n_non_mated"] == 36 * 35 // 2


def test_unseen_people_are_recognised_and_fusion_helps(found):
    assert found["iris"]["eer"] < 0.3
    assert found["fingerprint"]["eer"] < 0.3
    assert found["fused"]["eer"] <= max(found["iris"]["eer"], found["fingerprint"]["eer"])
    assert found["fused"]["rank1"] > 0.5


def test_permuted_identities_give_an_eer_of_one_half(recogniser, config):
    sets = toy_sets(14, first=40, positions=2)
    rng = np.random.default_rng(3)
    permuted = {}
    for modality, captures in sets.items():
        order = rng.permutation(len(captures))
        permuted[modality] = replace(
            captures,
            subject_id=captures.subject_id[order],
            position=captures.position[order],
            impression=captures.impression[order],
        )
    found = evaluate_sets(recogniser, permuted, config)
    for name in ("iris", "fingerprint", "fused", "fused_feature"):
        assert found[name]["eer"] == pytest.approx(0.5, abs=0.12), name
        assert found[name]["rank1"] < 0.25


def test_a_modality_without_mated_pairs_is_none_with_the_reason(recogniser, config):
    sets = toy_sets(6, first=40)
    sets[FINGER] = sets[FINGER].select(sets[FINGER].impression == 0)
    found = evaluate_sets(recogniser, sets, config)
    assert found["fingerprint"] is None
    assert found["reasons"]["fingerprint"] == NO_MATED_PAIR
    # the lone fingers take no part in the fused comparisons either
    alone = evaluate_sets(recogniser, {IRIS: sets[IRIS]}, config)
    assert found["fused"] == alone["fused"]
    assert alone["reasons"]["fingerprint"] == "no captures"


def test_nothing_to_compare(recogniser, config):
    found = evaluate_sets(recogniser, {}, config)
    assert all(found[name] is None for name in NAMES)
    assert set(found["reasons"]) == set(NAMES)
    one = toy_set(IRIS, 1, first=40)
    found = evaluate_sets(recogniser, {IRIS: one}, config)
    assert found["iris"] is None
    assert "non-mated" in found["reasons"]["iris"]


def test_an_fmr_that_cannot_be_carried_is_none_with_the_reason(recogniser, config):
    found = evaluate_sets(recogniser, toy_sets(4, first=40), config)
    assert found["iris"]["fnmr_at_fmr_0.001"] is None
    assert found["iris"]["intervals"]["fnmr_at_fmr_0.001"] is None
    assert "iris.fnmr_at_fmr_0.001" in found["reasons"]


def test_two_models_are_scored_on_the_same_pairs(recogniser, unseen, config):
    only = {IRIS: toy_set(IRIS, 6)}
    other = recogniser_of(fit(only, {}, config), {}, config)
    common = (IRIS,)
    one, two = (scored(model, unseen, common).comparisons for model in (recogniser, other))
    assert set(one) == set(two) >= {"iris", "fused", "fused_feature", "fused_feature_attention"}
    for name in one:
        assert one[name].same_pairs(two[name])
    assert scored(other, unseen).reasons["fingerprint"] == "the model was not trained on it"


def test_flattened_metrics_are_finite_numbers(found):
    flat = flattened(found)
    assert flat["iris_eer"] == found["iris"]["eer"]
    assert flat["fused_eer_low"] == found["fused"]["intervals"]["eer"][0]
    assert all(isinstance(value, float) and np.isfinite(value) for value in flat.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with ingested, prepared, trained-on captures, and the run's id."""
    folder = tmp_path_factory.mktemp("evaluate")
    settings = {
        "storage": {"root": str(folder / "data")},
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    config = drawn_config(small(load_config("test", settings)))
    source = drawn_source(folder / "source", subjects=10)
    ingest(config, source=str(source), captured_at=datetime(2026, 1, 1, tzinfo=UTC))
    preprocess(config)
    return config, train(config).run_id


@pytest.mark.slow
def test_the_stage_measures_test_subjects_and_logs_everything(world):
    config, run_id = world
    result = evaluate(config, run_id=run_id)
    assert result.release_ok, result.release_reasons
    assert result.release_reasons == [f"exempt: fingerprint: {NO_MATED_PAIR}"]
    splits = {"iris": result.metrics["iris"]["n_subjects"]}
    assert 2 <= splits["iris"] <= 5  # 40 % of ten
    assert result.metrics["closed_set"]["samples"] >= 1
    assert 0 < result.metrics["latency"]["p50_ms"] <= result.metrics["latency"]["p95_ms"]
    assert all(Path(plot).stat().st_size > 1000 for plot in result.plots)
    names = {Path(plot).name for plot in result.plots}
    assert names >= {"det.png", "scores_iris.png", "scores_fused.png", "confusion.png"}
    info = runs.get_run(config, run_id)
    assert info.metrics["iris_eer"] == result.metrics["iris"]["eer"]
    assert info.metrics["release_ok"] == 1.0
    stored = runs.download(config, run_id, "evaluation")
    assert {path.name for path in stored.iterdir()} == names | {"evaluation.json", *CARDS}
    record = json.loads((stored / "evaluation.json").read_text())
    assert record["release"]["ok"] is True
    assert {"groups", "quality"} <= set(record)
    assert record["fta"]["iris"] == result.metrics["fta"]["iris"]
    assert record["fta"]["iris"]["captures"] == 3 * result.metrics["iris"]["n_subjects"]
    assert info.metrics["fta_iris_rate"] == 0
    assert {Path(card).name for card in result.cards} == CARDS
    card = (stored / "model_card.md").read_text()
    assert run_id in card
    assert info.tags["training_digest"] in card
    again = evaluate(config, run_id=run_id)
    timed = {"latency"}
    assert {k: v for k, v in again.metrics.items() if k not in timed} == {
        k: v for k, v in result.metrics.items() if k not in timed
    }


@pytest.mark.slow
def test_failure_images_go_again_with_the_setting(world):
    config, run_id = world
    drawn = evaluate(changed(config, "evaluation", failure_images=True), run_id=run_id).plots
    assert "failures_iris.png" in {Path(plot).name for plot in drawn}
    folder = Path(config.storage.root) / "evaluation" / run_id
    assert (folder / "failures_iris.png").exists()
    evaluate(config, run_id=run_id)
    assert not (folder / "failures_iris.png").exists()


@pytest.mark.slow
def test_no_source_name_gets_into_the_record(world):
    config, run_id = world
    evaluate(config, run_id=run_id)
    folder = Path(config.storage.root) / "evaluation" / run_id
    for name in ("evaluation.json", "performance_card.md", "model_card.md"):
        text = (folder / name).read_text()
        assert "001_L" not in text
        assert str(folder.parents[2]) not in text
        for subject in Store.of(config).read("captures", ["subject_id"])["subject_id"].to_pylist():
            assert subject not in text


@pytest.mark.slow
def test_the_run_is_measured_on_its_own_preparation_and_an_unknown_one_is_refused(world):
    config, run_id = world
    own = evaluate(config, run_id=run_id).metrics
    shapes = config.preprocess.model_copy(update={"iris_shape": (32, 64)})
    other = evaluate(config.model_copy(update={"preprocess": shapes}), run_id=run_id).metrics
    for name in ("iris", "fingerprint", "fta"):
        assert other[name] == own[name]
    with pytest.raises(ModelError):
        evaluate(config, run_id="0" * 32)


@pytest.mark.slow
def test_before_the_first_capture_there_is_nothing_to_evaluate(world):
    config, run_id = world
    with pytest.raises(DataError):
        evaluate(config, run_id=run_id, as_of=datetime(2025, 1, 1, tzinfo=UTC))
