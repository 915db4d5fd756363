import os
import stat
import subprocess
import sys
import textwrap
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.config import Check, Config
from biometric_core.data.inventory import data_figures
from biometric_core.errors import DataError, SourceError
from biometric_core.schemas import KEYS, TABLES
from biometric_core.stages import ingest as stage
from biometric_core.stages.check import judge
from biometric_core.stages.ingest import ingest
from biometric_core.storage.files import Files
from biometric_core.storage.store import Store
from tests.conftest import png

DAY = datetime(2026, 1, 5, tzinfo=UTC)


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
        image = Path(Store.of(config).root) / row["uri"]
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


def test_a_file_that_is_accepted_later_leaves_the_quarantine(config, source):
    large = png(noise(60, (200, 200)))
    write(source / "iris/001_L_02.png", large)  # not read: it is refused by its size
    write(source / "iris/001_L_03.png", png(noise(61, (40, 40))))  # read, and then refused
    write(source / "iris/001_L_04.png", b"broken")
    strict = with_limits(config, max_file_bytes=len(large) - 1, min_side=50)
    assert ingest(strict, source=str(source)).reasons == {
        "too_large": 1,
        "too_small": 1,
        "not_an_image": 1,
    }
    with pytest.raises(DataError, match="max_refused_share"):
        check_refused(strict)
    later = ingest(config, source=str(source))
    assert (later.added, later.refused, later.quarantined) == (2, 1, 0)
    store = Store.of(config)
    assert store.read("quarantine")["reason"].to_pylist() == ["not_an_image"]
    check_refused(config)
    version = store.version("quarantine")
    ingest(config, source=str(source))
    assert store.version("quarantine") == version, "an ordinary run makes no commit"


def check_refused(config: Config) -> None:
    """The gate of `check` on refused files, which would fail at three of eleven."""
    figures = data_figures(Store.of(config), config)
    if failed := [g for g in judge(figures, Check(max_refused_share=0.2)) if not g.holds]:
        raise DataError(str(failed[0]))


def test_a_run_that_is_cut_short_before_it_clears_the_quarantine_is_done_again(
    config, source, monkeypatch
):
    large = png(noise(60, (200, 200)))
    write(source / "iris/001_L_02.png", large)
    ingest(with_limits(config, max_file_bytes=len(large) - 1), source=str(source))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(config, source=str(source))
    assert Store.of(config).read("quarantine").num_rows == 1
    assert ingest(config, source=str(source)).known == 9
    assert Store.of(config).read("quarantine").num_rows == 0


def test_a_member_refused_beside_one_of_the_same_name_stays_in_quarantine(config, tmp_path):
    for again in range(2):
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
            archive.writestr("iris/001_L_01.png", png(noise(1)))
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("iris/001_L_01.png", png(noise(2)))
        result = ingest(config, source=str(tmp_path / "s.zip"))
        assert (result.refused, result.quarantined) == (1, 1 - again)
        assert Store.of(config).version("quarantine") == 1


def test_the_same_image_under_two_people_is_reported(config, source):
    write(source / "iris/009_L_01.png", png(noise(1)))
    result = ingest(with_limits(config, max_duplicates_share=0.2), source=str(source))
    assert result.reasons == {"duplicate_of_other_subject": 1}
    assert (result.duplicates, result.refused, result.subjects) == (1, 1, 4)


def test_many_images_under_two_people_fail_because_subjects_are_named_otherwise(config, source):
    ingest(config, source=str(source))
    for subject in range(1, 5):
        (source / f"iris/{subject:03}_L_01.png").rename(source / f"iris/p{subject}_L_01.png")
    with pytest.raises(DataError, match="4 of 8 files are the image of another subject"):
        ingest(config, source=str(source))
    rows = Store.of(config).read("captures")
    assert (rows.num_rows, pc.count_distinct(rows["subject_id"]).as_py()) == (8, 4)


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


def tables(config: Config) -> list[pa.Table]:
    store = Store.of(config)
    return [store.read(name).sort_by(KEYS[name][0]) for name in ("captures", "quarantine")]


def elsewhere(config: Config, root: Path) -> Config:
    return config.model_copy(
        update={"storage": config.storage.model_copy(update={"root": str(root)})}
    )


def test_the_tables_do_not_depend_on_how_often_a_run_is_cut_short(
    config, source, tmp_path, monkeypatch
):
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", "k" * 32)
    monkeypatch.setattr(stage, "_FILES_PER_COMMIT", 3)
    for name, data in {"iris/009_L_01.png": png(noise(1)), "iris/009_L_02.bmp": b"BM"}.items():
        write(source / name, data)
    config = with_limits(config, max_duplicates_share=1)
    whole = elsewhere(config, tmp_path / "whole")
    ingest(whole, source=str(source), captured_at=DAY)
    expected = tables(whole)
    assert [table.num_rows for table in expected] == [8, 2]
    append = Store.append_new
    for last in range(7):  # commits that are made before the run ends
        cut = elsewhere(config, tmp_path / f"cut{last}")
        left = iter(range(last))

        def failing(store, name, rows, complete=None, left=left):
            if rows.num_rows and next(left, None) is None:
                raise KeyboardInterrupt
            return append(store, name, rows, complete)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "append_new", failing)
            try:
                ingest(cut, source=str(source), captured_at=DAY)
            except KeyboardInterrupt:
                pass
            else:
                assert last >= 4
        ingest(cut, source=str(source), captured_at=DAY)
        assert tables(cut) == expected


def test_an_image_that_another_run_took_in_meanwhile_is_known_or_a_duplicate(config, source):
    config = with_limits(config, max_duplicates_share=1)
    late = stage._Run(config, DAY, "s", "folder")
    files = list(stage.open_source(source, config.ingest))
    seen = [late.intake(file) for file in files]
    other = source.with_name("other")
    write(other / "iris/777_L_01.png", png(noise(1)))  # the eye of 001 under another name
    write(other / "iris/002_L_01.png", png(noise(2)))
    ingest(config, source=str(other), captured_at=DAY)
    for file in seen:
        late.take(file)
    late.commit()
    result = late.result()
    assert (result.added, result.known, result.duplicates) == (6, 1, 1)
    captures, quarantine = tables(config)
    assert captures.num_rows == 8
    assert quarantine["reason"].to_pylist() == ["duplicate_of_other_subject"]


@pytest.mark.slow
def test_three_ingests_at_once_all_complete_and_nothing_comes_twice(config, tmp_path):
    """They share half of their people; every one of them commits many times."""
    command = [sys.executable, "-c", textwrap.dedent(ONE_INGEST)]
    environment = os.environ | {"BIOMETRIC__STORAGE__ROOT": config.storage.root}
    for number in range(3):
        for subject in range(10 * number, 10 * number + 20):
            for impression in (1, 2):
                name = f"{number}/iris/{subject:03}_L_{impression:02}.png"
                write(tmp_path / name, png(noise(1000 * impression + subject)))
    running = [
        subprocess.Popen([*command, str(tmp_path / str(number))], env=environment)
        for number in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    rows = Store.of(config).read("captures").to_pylist()
    assert len(rows) == len({row["capture_id"] for row in rows}) == 80
    assert len({row["subject_id"] for row in rows}) == 40
    assert len({(row["subject_id"], row["split"]) for row in rows}) == 40
    assert Store.of(config).read("quarantine").num_rows == 0


ONE_INGEST = """
    import sys
    from biometric_core.stages import ingest as stage
    from biometric_core.config import load_config

    stage._FILES_PER_COMMIT = 5
    stage.ingest(load_config("test"), source=sys.argv[1])
"""


def test_a_prefix_and_a_zip_on_an_object_store_are_sources(bucket, config, source, tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in source.rglob("*.png"):
            archive.write(path, path.relative_to(source))
            Files(f"{bucket}/people").write(str(path.relative_to(source)), path.read_bytes())
    Files(bucket).write("s.zip", (tmp_path / "s.zip").read_bytes())
    ingest(config, source=str(source), captured_at=DAY)
    expected = tables(config)
    for name in (f"{bucket}/people", f"{bucket}/s.zip"):
        again = ingest(config, source=name, captured_at=DAY)
        assert (again.added, again.known, again.refused) == (0, 8, 0)
    other = elsewhere(config, tmp_path / "other")
    first = ingest(other, source=f"{bucket}/s.zip", captured_at=DAY)
    assert first.added == 8
    assert tables(config) == expected


@pytest.mark.parametrize("name", ["nothing", "nothing.zip"])
def test_what_an_object_store_lacks_is_one_clear_line(bucket, config, name):
    with pytest.raises(SourceError, match=f"{bucket}/{name}") as error:
        ingest(config, source=f"{bucket}/{name}")
    assert "\n" not in str(error.value)


def test_an_image_that_was_lost_or_cut_short_is_mended_by_taking_it_in_again(config, source):
    ingest(config, source=str(source))
    store = Store.of(config)
    first, second = store.read("captures", ["uri"])["uri"].to_pylist()[:2]
    whole = store.files.read(first)
    store.files.write(first, b"")
    store.files.delete(second)
    assert ingest(config, source=str(source)).known == 8
    assert store.files.read(first) == whole
    assert store.files.exists(second)
