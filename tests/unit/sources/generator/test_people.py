"""The generated data set on disk: layout, determinism, idempotence."""

import json
import multiprocessing
from pathlib import Path, PurePosixPath

import cv2
import pytest

from biometric_core.config import Config, Generator
from biometric_core.errors import ConfigError, SourceError
from biometric_core.schemas import Modality
from biometric_core.sources.generator import people
from biometric_core.sources.generator.people import FINGER_ORDER, GenerateResult, generate
from biometric_core.sources.layouts import parse


@pytest.fixture
def small() -> Config:
    return Config(generator=Generator(subjects=2, impressions=2, fingers=1, seed=3))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pooled(config: Config, out: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateResult:
    monkeypatch.setattr(people, "_MIN_IMAGES_FOR_POOL", 1)
    return generate(config, out=str(out), workers=2)


def test_flat_layout_that_the_sources_understand(small, tmp_path):
    result = generate(small, out=str(tmp_path))
    files = [PurePosixPath(name) for name in content(tmp_path) if not name.startswith(".")]
    captures = [parse(name) for name in files]
    assert result.images == result.written == len(files) == 2 * 2 * (2 + 1)
    assert {capture.subject for capture in captures} == {"001", "002"}
    assert {capture.position for capture in captures} == {"left", "right", "left_index"}
    assert (tmp_path / "iris/001_L_01.bmp").is_file()
    assert (tmp_path / "fingerprint/002_L_index_02.png").is_file()
    shapes = {
        parse(name).modality: cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED).shape
        for name in files
    }
    assert shapes == {Modality.IRIS: (240, 320), Modality.FINGERPRINT: (192, 160)}


def test_any_number_of_workers_gives_the_same_bytes(small, tmp_path, monkeypatch):
    generate(small, out=str(tmp_path / "one"), workers=1)
    pooled(small, tmp_path / "two", monkeypatch)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_no_two_captures_are_identical_and_seeds_differ(small, tmp_path):
    generate(small, out=str(tmp_path / "a"))
    generate(small, out=str(tmp_path / "b"), seed=4)
    images = [*content(tmp_path / "a").values(), *content(tmp_path / "b").values()]
    assert len(set(images)) == len(images)


def test_what_is_there_is_left_alone_and_what_is_missing_is_added(small, tmp_path):
    generate(small, out=str(tmp_path))
    before = content(tmp_path)
    lost = tmp_path / "iris/002_R_01.bmp"
    lost.unlink()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    assert generate(small, out=str(tmp_path)).written == 1
    assert content(tmp_path) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_a_larger_data_set_contains_the_smaller(small, tmp_path):
    generate(small, out=str(tmp_path / "small"))
    generate(small, out=str(tmp_path / "large"), subjects=3, impressions=3)
    small_files, large_files = content(tmp_path / "small"), content(tmp_path / "large")
    assert small_files.items() <= large_files.items()
    assert len(large_files) - 1 == 3 * 3 * 3


def test_people_of_two_seeds_never_mix(small, tmp_path):
    generate(small, out=str(tmp_path), subjects=1, impressions=1)
    with pytest.raises(SourceError, match="another folder"):
        generate(small, out=str(tmp_path), seed=99)
    (tmp_path / ".generator.json").write_text("{")
    with pytest.raises(SourceError, match="damaged"):
        generate(small, out=str(tmp_path))


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"impressions": -1}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(small, tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        generate(small, out=str(tmp_path), **wrong)


def test_ten_fingers_are_ordered_without_repetition():
    assert FINGER_ORDER[:2] == ("left_index", "right_index")
    assert len(set(FINGER_ORDER)) == 10


def _generate_inside(out: str, config: Config) -> None:
    people._MIN_IMAGES_FOR_POOL = 1
    result = generate(config, out=out, workers=2)
    Path(out, "result.json").write_text(json.dumps(result.written))


def test_works_inside_a_daemonic_process(small, tmp_path):
    child = multiprocessing.get_context("spawn").Process(
        target=_generate_inside, args=(str(tmp_path), small), daemon=True
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert json.loads((tmp_path / "result.json").read_text()) == 12
