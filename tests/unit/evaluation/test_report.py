import json

import numpy as np
import pytest

from biometric_core.config import load_config
from biometric_core.evaluation.report import Evidence, write_report
from biometric_core.matching.comparisons import Comparisons, pooled
from biometric_core.schemas import Modality
from biometric_core.stages.evaluate import flattened
from tests.support.report_world import world

IRIS = Modality.IRIS


def configured(**evaluation):
    return load_config("test", {"evaluation": {"bootstrap": 20, **evaluation}})


@pytest.fixture(scope="module")
def evidence():
    captures, found = world(10)
    items = np.array([f"{name}#1" for name in found.items])
    fused = Comparisons(**{**vars(found), "items": items})
    comparisons = {"iris": found, "iris_phase_code": found, "fused": fused}
    return Evidence(comparisons, {"iris": np.array([1, 1, 2, 5])}, {IRIS: captures})


@pytest.fixture(scope="module")
def written(evidence, tmp_path_factory):
    values = {"iris": None, "reasons": {"iris": "left out here"}}
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder, values, evidence, configured(), {"model": "run 5"})


def test_pictures_cards_and_values(written):
    names = {path.name for path in written.pictures}
    assert names == {
        "det.png",
        "cmc.png",
        "scores_iris.png",
        "scores_iris_phase_code.png",
        "scores_fused.png",
        "quality_iris.png",
        "groups_iris_position.png",
        "groups_iris_sex.png",
        "groups_fused_sex.png",
    }
    assert all(path.stat().st_size > 1000 for path in written.pictures)
    assert [path.name for path in written.cards] == ["performance_card.md", "performance_card.html"]
    json.dumps(written.values, allow_nan=False)
    assert set(written.values["groups"]) == {"iris", "fused"}
    assert set(written.values["quality"]) == {"iris"}
    assert written.values["reasons"]["iris"] == "left out here"
    assert "run 5" in written.cards[0].read_text()


def test_nobody_is_named(written, evidence):
    text = written.cards[0].read_text() + json.dumps(written.values)
    captures = evidence.sets[IRIS]
    for name in (*captures.subject_id, *captures.capture_id):
        assert name not in text


def test_metrics_for_mlflow_hold_rates_of_groups_and_quality(written):
    flat = flattened({**written.values, "fta": {"iris": {"rate": 0.5, "reasons": {"x": 1}}}})
    assert (
        flat["groups_iris_position_left_fnmr"]
        == (written.values["groups"]["iris"]["position"]["left"]["fnmr"])
    )
    assert flat["quality_iris_fnmr_discard_0.1"] >= 0
    assert flat["fta_iris_rate"] == 0.5
    assert all(isinstance(value, float) for value in flat.values())


def test_failure_images_only_when_asked_for_and_never_in_the_card(evidence, tmp_path):
    without = write_report(tmp_path / "a", {}, evidence, configured())
    assert not list((tmp_path / "a").glob("failures*"))
    config = configured(failure_images=True)
    found = write_report(tmp_path / "b", {}, evidence, config)
    extra = {path.name for path in found.pictures} - {path.name for path in without.pictures}
    assert extra == {"failures_iris.png"}
    assert (tmp_path / "b" / "failures_iris.png").stat().st_size > 10_000
    assert "failures_iris" not in found.cards[0].read_text()


def test_data_that_say_nothing_give_reasons(tmp_path):
    captures, found = world(3, positions=1)
    told = write_report(tmp_path, {}, Evidence({"iris": found}, {}, {IRIS: captures}), configured())
    assert told.values["groups"] == {"iris": {"position": None, "sex": None}}
    assert told.values["quality"] == {"iris": None}
    assert set(told.values["reasons"]) == {
        "groups.iris.position",
        "groups.iris.sex",
        "quality.iris",
    }


def test_pooled_folds_keep_every_comparison_and_its_captures():
    captures, found = world(9)
    folds = [subjects_of(found, captures.subject_id, range(k, 9, 3)) for k in range(3)]
    told = pooled(folds)
    expected = {
        (fold.items[a], fold.items[b], score)
        for fold in folds
        for a, b, score in zip(fold.first, fold.second, fold.scores, strict=True)
    }
    pairs = zip(told.items[told.first], told.items[told.second], told.scores, strict=True)
    assert set(pairs) == expected
    assert len(told) == len(expected) == sum(len(fold) for fold in folds)
    assert told.n_mated == found.n_mated
    traits = Evidence({"iris": told}, {}, {IRIS: captures}).traits["iris"]
    rows = [captures.capture_id.tolist().index(item) for item in told.items]
    assert traits.row.tolist() == rows


def subjects_of(found, subject_id, numbers):
    """The comparisons among some subjects, with only their items, as a fold has them."""
    names = np.unique(subject_id)[list(numbers)]
    member = np.isin(found.subjects, names)
    place = np.cumsum(member) - 1
    kept = member[found.first] & member[found.second]
    return Comparisons(
        found.scores[kept],
        found.mated[kept],
        place[found.first[kept]],
        place[found.second[kept]],
        found.items[member],
        found.subjects[member],
    )
