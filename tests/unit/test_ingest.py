import stat
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from biometric_core.config import Config
from biometric_core.errors import DataError, SourceError
from biometric_core.ingest import ingest
from biometric_core.schemas import TABLES
from biometric_core.store import Store
from tests.conftest import png


def noise(seed: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four people, one iris and one finger each, in the flat layout."""
    folder = tmp_path / "source"
    for subject in range(1, 5):
        write(folder / f"iris/{subject:03}_L_01.png", png(noise(subject)))
        write(folder / f"fingerprint/{subject:03}_L_thumb_01.png", png(noise(100 + subject)))
    return folder


def with_limits(config: Config, **limits: float) -> Config:
    section = config.ingest.model_copy(update=limits)
    return config.model_copy(update={"ingest": section})


def test_a_rerun_adds_nothing_and_touches_no_table(config, source):
    first = ingest(config, source=str(source))
    assert (first.added, first.refused, first.subjects) == (8, 0, 4)
    store = Store.of(config)
    before = store.version("captures"), store.version("quarantine")
    again = ingest(config, source=str(source))
    assert (again.added, again.known) == (0, 8)
    assert (store.version("captures"), store.version("quarantine")) == before


def test_rows_hold_pseudonyms_and_content_not_names(config, tmp_path):
    root = tmp_path / "IRIS and FINGERPRINT DATASET"
    write(root / "7/left/chingycl1.bmp", cv2.imencode(".bmp", noise(1))[1].tobytes())
    write(root / "7/Fingerprint/7__F_Left_thumb_finger.BMP", png(noise(2)))
    ingest(config, source=str(root), captured_at=datetime(2026, 1, 5, tzinfo=UTC), sensor="s1")
    rows = Store.of(config).read("captures").to_pylist()
    assert {(row["modality"], row["position"]) for row in rows} == {
        ("iris", "left"),
        ("fingerprint", "left_thumb"),
    }
    assert len({row["subject_id"] for row in rows}) == 1
    assert {row["modality"]: row["sex"] for row in rows} == {"iris": None, "fingerprint": "F"}
    assert all(row["captured_at"].date() == date(2026, 1, 5) for row in rows)
    assert "chingyc" not in str(rows)
    for row in rows:
        image = Store.of(config).root / row["uri"]
        assert image.read_bytes()
        assert stat.S_IMODE(image.stat().st_mode) & 0o077 == 0, "personal data is its owner's"


def test_bad_files_are_quarantined_each_with_its_reason(config, source):
    whole = cv2.imencode(".bmp", noise(50))[1].tobytes()
    bad = {
        "iris/001_L_02.bmp": b"",
        "iris/001_L_03.bmp": whole[: len(whole) // 2],
        "iris/001_L_04.bmp": b"GIF89a" + bytes(100),
        "iris/001_L_05.bmp": png(noise(51, (1, 1))),
        "iris/001_L_06.bmp": whole[:18] + (2**30).to_bytes(4, "little") * 2 + whole[26:],
        "iris/001_L_07.png": png(np.full((60, 80), 128, np.uint8)),
        "iris/Thumbs.db": b"x",
        "readme.txt": b"hello",
    }
    for name, data in bad.items():
        write(source / name, data)
    result = ingest(with_limits(config, max_refused_share=1.0), source=str(source))
    assert result.added == 8
    assert result.refused == result.quarantined == len(bad)
    rows = Store.of(config).read("quarantine")
    assert rows.schema == TABLES["quarantine"]
    reasons = set(rows["reason"].to_pylist())
    assert {
        "empty_file",
        "truncated",
        "too_small",
        "too_large",
        "low_contrast",
        "clutter",
    } <= reasons
    assert sum(result.reasons.values()) == len(bad)


def test_the_same_image_under_two_people_is_reported(config, source):
    write(source / "iris/009_L_01.png", png(noise(1)))
    result = ingest(config, source=str(source))
    assert result.reasons == {"duplicate_of_other_subject": 1}
    assert result.subjects == 4


def test_a_batch_with_too_many_bad_files_fails_and_says_so(config, source):
    for number in range(30):
        write(source / f"iris/001_R_{number:02}.png", b"broken")
    with pytest.raises(DataError, match="30 of 38 files were refused"):
        ingest(config, source=str(source))
    assert Store.of(config).read("captures").num_rows == 8, "nothing is lost"
    assert Store.of(config).read("quarantine").num_rows == 30


def test_too_few_subjects_fail(config, source):
    with pytest.raises(DataError, match="4 subjects"):
        ingest(with_limits(config, min_subjects=5), source=str(source))


def test_escaping_zip_members_are_quarantined_and_written_nowhere(config, source, tmp_path):
    archive = tmp_path / "deep" / "source.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in source.rglob("*.png"):
            file.write(path, path.relative_to(source))
        file.writestr("../../iris/005_L_01.png", png(noise(70)))
        file.writestr("/iris/006_L_01.png", png(noise(71)))
    result = ingest(config, source=str(archive))
    assert result.added == 8
    assert result.refused == 2
    assert not (tmp_path / "iris").exists()


def test_a_missing_source_is_one_clear_line(config, tmp_path):
    with pytest.raises(SourceError, match="absent"):
        ingest(config, source=str(tmp_path / "absent"))


def test_an_interrupted_ingest_is_completed_by_the_next(config, source, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "append_new", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(config, source=str(source))
    assert Store.of(config).read("captures").num_rows == 0
    assert ingest(config, source=str(source)).added == 8


def test_batches_that_overlap_in_time_never_put_a_subject_in_two_splits(config, tmp_path):
    from biometric_core import ingest as stage

    def taken(name: str, subjects: range) -> stage._Ingest:
        for subject in subjects:
            path = tmp_path / name / f"iris/{subject:03}_L_01.png"
            write(path, png(noise(subject + 1000 * ord(name))))
        run = stage._Ingest(config, datetime.now(UTC), "s", "folder")
        for file in stage.iter_files(tmp_path / name, config.ingest):
            run.take(file)
        return run

    one, two = taken("a", range(20)), taken("b", range(10, 30))  # neither has seen the other
    one.commit()
    two.commit()
    rows = Store.of(config).read("captures", ["subject_id", "split"]).to_pylist()
    assert len({row["subject_id"] for row in rows}) == 30
    assert len({(row["subject_id"], row["split"]) for row in rows}) == 30
