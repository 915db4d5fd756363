import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.cli.terminal import show_crossval
from biometric_core.data.splits import subject_folds
from biometric_core.data.without_store import capture_sets_from_source
from biometric_core.errors import DataError, ModelError
from biometric_core.evaluation.figures import NO_MATED_PAIR
from biometric_core.imaging.iris.paint_out import PaintOut
from biometric_core.stages.crossval import crossval
from biometric_core.stages.pretrain import without_people
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from tests.support.drawn_captures import draw_finger
from tests.support.drawn_source import drawn_config, drawn_source
from tests.support.tiny_store import changed

names = st.sets(st.text("abc", min_size=1, max_size=4), min_size=4, max_size=30)


@given(names, st.integers(2, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_folds_are_disjoint_and_test_everybody_once(subjects, folds, share, seed):
    if len(subjects) < 2 * folds:
        with pytest.raises(DataError, match="folds"):
            subject_folds([sorted(subjects)], folds, share, seed)
        return
    plan = subject_folds([sorted(subjects)], folds, share, seed)
    assert sorted(name for fold in plan for name in fold.test) == sorted(subjects)
    for fold in plan:
        parts = fold.train, fold.validation, fold.test
        assert all(parts)
        assert sorted(sum(parts, ())) == sorted(subjects)  # each in one of the three, once
    sizes = [len(fold.test) for fold in plan]
    assert max(sizes) - min(sizes) <= 1


@given(names, st.randoms(use_true_random=False))
def test_folds_depend_on_the_set_of_subjects_only(subjects, random):
    mixed = sorted(subjects)
    random.shuffle(mixed)
    assert subject_folds([mixed], 2, 0.15, 5) == subject_folds([sorted(subjects)], 2, 0.15, 5)
    assert subject_folds([mixed * 2], 2, 0.15, 5) == subject_folds([mixed], 2, 0.15, 5)


def test_another_seed_divides_otherwise():
    subjects = [f"s{i}" for i in range(20)]
    assert subject_folds([subjects], 3, 0.15, 1) != subject_folds([subjects], 3, 0.15, 2)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossval")
    return drawn_source(folder / "named-after-a-person", subjects=8)


def test_crossval_of_a_folder(config, sources, tmp_path):
    out = tmp_path / "out" / "figures.json"
    found = crossval(drawn_config(config), sources=[str(sources)], folds=2, out=str(out))
    assert json.loads(out.read_text()) == found
    assert len(found["folds"]) == 2
    for part in (*found["folds"], found["mean"]):
        assert part["fingerprint"] is None
        assert part["reasons"]["fingerprint"] == NO_MATED_PAIR
        for name in ("iris", "fused"):
            assert set(part[name]) >= {"eer", "fnmr_at_fmr_0.01", "fnmr_at_fmr_0.001", "rank1"}
    folds, mean = [fold["iris"] for fold in found["folds"]], found["mean"]["iris"]
    assert mean["eer"] == pytest.approx(sum(fold["eer"] for fold in folds) / 2)
    assert mean["n_mated"] == sum(fold["n_mated"] for fold in folds) == 8 * 3
    low, high = mean["intervals"]["eer"]
    assert low <= mean["eer"] <= high
    assert found["protocol"]["captures"] == {"iris": 24, "fingerprint": 8}
    text = json.dumps(found)
    assert "person" not in text, "no names of sources or subjects"
    assert "001" not in found["protocol"]


def test_the_same_names_in_two_sources_are_different_people(config, sources, tmp_path):
    other = drawn_source(tmp_path / "other", subjects=10, impressions=2, fingers=False)
    for path in sorted((other / "iris").iterdir()):  # 009 and 010 are new, the rest are copies
        if not path.name.startswith(("009", "010")):
            path.unlink()
        else:
            path.rename(path.with_name(path.name.replace("009", "001").replace("010", "002")))
    found = crossval(drawn_config(config), sources=[str(sources), str(other)], folds=2)
    assert found["protocol"]["subjects"] == 10
    assert found["mean"]["iris"]["n_mated"] == 8 * 3 + 2


@pytest.fixture(scope="module")
def fingers(tmp_path_factory):
    """Six fingers in FVC's layout, three impressions each."""
    folder = tmp_path_factory.mktemp("fingers")
    for finger in range(6):
        for impression in range(1, 4):
            image = draw_finger(period=8 + 0.3 * finger, turn=4.0 * impression)
            cv2.imwrite(str(folder / f"{100 + finger}_{impression}.png"), image)
    return folder


@pytest.fixture
def few_draws(config):
    return changed(drawn_config(config), "evaluation", chimeric_draws=3)


def test_chimeric_subjects_of_two_sources(few_draws, sources, fingers):
    both = [str(sources), str(fingers)]
    found = crossval(few_draws, sources=both, folds=2, chimeric=True)
    protocol, mean = found["protocol"], found["mean"]
    assert protocol["chimeric"] is True
    assert protocol["draws"] == 3
    assert protocol["chimeric_subjects"] == [3, 3]
    assert [one["layout"] for one in protocol["sources"]] == ["flat", "fvc"]
    assert protocol["sources"][1]["captures"] == {"fingerprint": 18}
    assert mean["fused"]["n_mated"] == 3 * 6 * 3  # draws, subjects, pairs of three visits
    assert set(mean["fused"]["draws"]["eer"]) == {"mean", "std", "min", "max"}
    assert mean["fingerprint"]["n_mated"] == 6 * 3
    names = {"iris_phase_code", "one_iris+one_finger", "missing_third"}
    assert names <= set(mean["combinations"])
    assert mean["combinations"]["missing_third"]["n_failed_to_acquire"] > 0
    show_crossval(found)


def test_without_pairing_there_is_nothing_to_fuse(few_draws, sources, fingers):
    found = crossval(few_draws, sources=[str(sources), str(fingers)], folds=2)
    for part in (*found["folds"], found["mean"]):
        assert part["iris"]
        assert part["fused"] is None
        assert part["fused_feature"] is None
        assert "--chimeric" in part["reasons"]["fused"]
        assert not {"missing_third", "both_irises"} & set(part["combinations"])


def test_chimeric_needs_two_kinds_of_sources(few_draws, sources):
    with pytest.raises(DataError, match="at least two sources"):
        crossval(few_draws, sources=[str(sources), str(sources)], folds=2, chimeric=True)


def test_a_pretrained_recogniser_is_tested_on_everybody(config, sources, tmp_path):
    config = drawn_config(config)
    sets = capture_sets_from_source(config, str(sources))
    fitted = fit(sets, {}, config)
    trained = recogniser_of(fitted, {}, config)
    trained.save(tmp_path / "trained")
    with pytest.raises(ModelError, match="was trained on 8 people"):
        crossval(config, sources=[str(sources)], recogniser=str(tmp_path / "trained"))
    without_people(trained).save(tmp_path / "saved")
    found = crossval(config, sources=[str(sources)], recogniser=str(tmp_path / "saved"))
    assert found["protocol"]["pretrained"] is True
    assert found["protocol"]["folds"] == 1
    assert found["folds"][0]["train_subjects"] == 0
    assert found["mean"]["iris"]["n_mated"] == 8 * 3
    other = changed(config, "preprocess", iris_shape=(32, 32))
    alike = crossval(other, sources=[str(sources)], recogniser=str(tmp_path / "saved"))
    assert alike["mean"] == found["mean"], "measured by its own shapes"
    foreign = replace(without_people(trained), preprocess_version="1-64x512-224x224")
    foreign.save(tmp_path / "foreign")
    with pytest.raises(ModelError, match="prepared as 1-64x512-224x224, this code can't"):
        crossval(config, sources=[str(sources)], recogniser=str(tmp_path / "foreign"))
    with pytest.raises(ModelError):
        crossval(config, sources=[str(sources)], recogniser=str(tmp_path / "missing"))


@pytest.mark.parametrize("what", list(PaintOut))
def test_irises_are_painted_out(config, sources, what):
    found = crossval(drawn_config(config), sources=[str(sources)], folds=2, paint_out=what.value)
    assert found["protocol"]["paint_out"] == what
    assert 0 <= found["protocol"]["painted_refused"] <= 24
    assert found["protocol"]["captures"]["iris"] == 24


def test_failures_to_acquire_are_told_by_modality_and_reason(config, tmp_path):
    source = drawn_source(tmp_path / "some", subjects=8, impressions=2)
    cv2.imwrite(str(source / "iris" / "009_L_01.png"), np.full((240, 320), 99, np.uint8))
    found = crossval(drawn_config(config), sources=[str(source)], folds=2)
    assert found["protocol"]["failures_to_acquire"] == {"iris": {"low_contrast": 1}}
    source = found["protocol"]["sources"][0]
    assert source["captures"] == {"iris": 17, "fingerprint": 8}
    assert source["acquired"] == {"iris": 16, "fingerprint": 8}


@given(st.lists(names, min_size=2, max_size=4), st.integers(2, 4), st.integers(0, 2**31))
def test_every_fold_has_its_share_of_every_source(sources, folds, seed):
    groups = [[f"{i}:{name}" for name in sorted(source)] for i, source in enumerate(sources)]
    if sum(map(len, groups)) < 2 * folds:
        return
    plan = subject_folds(groups, folds, 0.2, seed)
    for group in groups:
        sizes = [len(set(group) & set(fold.test)) for fold in plan]
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) == len(group)
    for fold in plan:
        parts = [*fold.train, *fold.validation, *fold.test]
        assert sorted(parts) == sorted(name for group in groups for name in group)
        assert fold.train
        assert fold.validation


def test_too_few_subjects(config, tmp_path):
    few = drawn_source(tmp_path / "few", subjects=2, impressions=1, fingers=False)
    with pytest.raises(DataError, match="2 subjects for 3 folds"):
        crossval(drawn_config(config), sources=[str(few)], folds=3)
