from pathlib import PurePosixPath

import pytest

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources.reader import iter_files, open_source
from biometric_core.storage.files import Files
from tests.support.object_store import environment, new_bucket, object_store_server
from tests.support.small_sources import flat_people, kaggle_people, write_folder, write_zip

ROOT = "IRIS and FINGERPRINT DATASET/"


def upload(bucket: str, files: dict[str, bytes]) -> str:
    target = Files(bucket)
    for name, data in files.items():
        target.write(name, data)
    return bucket


def test_folder_zip_prefix_and_remote_zip_give_the_same_files_in_the_same_order(
    bucket, tmp_path, limits
):
    files = kaggle_people(ROOT, people=2)
    archive = write_zip(tmp_path / "a.zip", files)
    Files(bucket).write("a.zip", archive.read_bytes())
    sources = [
        write_folder(tmp_path / "f", files),
        archive,
        upload(f"{bucket}/some/prefix", files),
        f"{bucket}/a.zip",
    ]
    found = [[(f.path, f.size, f.read()) for f in iter_files(s, limits)] for s in sources]
    assert found[0] == found[1] == found[2] == found[3]
    assert {str(path): data for path, _, data in found[0]} == files


def test_limits_hold_for_a_prefix(bucket, limits):
    files = flat_people(2, 1)
    source = upload(f"{bucket}/p", files | {"iris/large_L_01.bmp": bytes(50_000)})
    with pytest.raises(SourceError, match=r"ingest\.max_members"):
        open_source(source, Ingest(max_members=len(files)))
    with pytest.raises(SourceError, match=r"ingest\.max_total_bytes"):
        open_source(source, Ingest(max_total_bytes=20_000))
    opened = open_source(source, Ingest(max_file_bytes=40_000))
    assert len(opened) == len(files) + 1
    refused = [file for file in opened if file.refusal]
    assert [file.path for file in refused] == [PurePosixPath("iris/large_L_01.bmp")]
    with pytest.raises(CaptureRefused, match="too_large"):
        refused[0].read()


def test_a_file_that_went_meanwhile_is_refused(bucket, limits):
    (file,) = iter_files(upload(f"{bucket}/p", {"iris/001_L_01.bmp": b"x"}), limits)
    Files(f"{bucket}/p").delete("iris/001_L_01.bmp")
    with pytest.raises(CaptureRefused, match="unreadable"):
        file.read()


@pytest.mark.slow
def test_a_store_out_of_reach_stops_the_run_and_refuses_no_file(tmp_path, limits, monkeypatch):
    archive = write_zip(tmp_path / "a.zip", flat_people(1, 1))
    with object_store_server() as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        bucket = upload(new_bucket(), {"p/iris/001_L_01.bmp": b"x"})
        Files(bucket).write("a.zip", archive.read_bytes())
        files = [next(iter_files(f"{bucket}/{name}", limits)) for name in ("p", "a.zip")]
    for file in files:
        with pytest.raises(SourceError, match=r"can't be read: .*NETWORK_CONNECTION") as raised:
            file.read()
        assert "001" not in str(raised.value), "the key may be a person's name"
    with pytest.raises(SourceError, match="can't be read"):
        open_source(f"{bucket}/p", limits)
