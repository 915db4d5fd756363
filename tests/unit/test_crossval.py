import json

import pytest
from drawn_source import drawn_config, drawn_source
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.crossval import crossval
from biometric_core.errors import DataError
from biometric_core.figures import NO_MATED_PAIR
from biometric_core.folds import subject_folds

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


def test_too_few_subjects(config, tmp_path):
    few = drawn_source(tmp_path / "few", subjects=2, impressions=1, fingers=False)
    with pytest.raises(DataError, match="2 subjects for 3 folds"):
        crossval(drawn_config(config), sources=[str(few)], folds=3)
