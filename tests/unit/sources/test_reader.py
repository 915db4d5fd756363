import io
import os
import stat
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources.archive import check_size
from biometric_core.sources.layouts import is_clutter, parse
from biometric_core.sources.reader import SourceFile, iter_files, open_source
from tests.support.small_sources import flat_people, image, kaggle_people, write_folder, write_zip

ROOT = "IRIS and FINGERPRINT DATASET/"


def read_all(source: Path, limits: Ingest) -> dict[str, bytes]:
    return {str(f.path): f.read() for f in iter_files(source, limits) if f.refusal is None}


def only(source: Path, limits: Ingest) -> SourceFile:
    (file,) = (f for f in iter_files(source, limits) if f.path.name != "ok.bmp")
    return file


def reasons(source: Path, limits: Ingest) -> dict[str, str]:
    return {str(f.path): f.refusal.reason for f in iter_files(source, limits) if f.refusal}


@pytest.mark.parametrize("root", ["", ROOT, f"downloads/{ROOT}", f"__x/iris/{ROOT}"])
def test_folder_and_zip_of_the_kaggle_layout_hold_the_same_at_any_depth(tmp_path, limits, root):
    files = kaggle_people(root, people=2)
    folder = write_folder(tmp_path / "IRIS and FINGERPRINT", files)
    archive = write_zip(tmp_path / "a.zip", dict(reversed(files.items())))
    assert read_all(folder, limits) == read_all(archive, limits) == files
    order = [[f.path for f in iter_files(source, limits)] for source in (folder, archive)]
    assert order[0] == order[1] == sorted(order[0], key=lambda path: path.parts)
    captures = [parse(path) for path in order[0] if not is_clutter(path)]
    assert {capture.subject for capture in captures} == {"1", "2"}
    assert sum(capture.modality == "iris" for capture in captures) == 20
    assert sum(capture.modality == "fingerprint" for capture in captures) == 4


def test_files_can_be_read_after_the_iteration(make_zip, limits):
    files = flat_people(1, 2)
    listed = list(iter_files(make_zip(files), limits))
    assert {str(file.path): file.read() for file in listed} == files


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../iris/001_L_01.bmp", "path_leaves_archive"),
        ("iris/../../001_L_01.bmp", "path_leaves_archive"),
        ("/iris/001_L_01.bmp", "path_leaves_archive"),
        ("..\\iris\\001_L_01.bmp", "path_leaves_archive"),
        ("C:\\iris\\001_L_01.bmp", "path_leaves_archive"),
        ("../../.bashrc", "path_leaves_archive"),
    ],
)
def test_members_that_would_escape_are_refused(make_zip, limits, name, reason):
    source = make_zip({"iris/ok.bmp": b"x", name: b"x"})
    file = only(source, limits)
    assert file.refusal is not None
    assert file.refusal.reason == reason
    assert not is_clutter(file.path)
    with pytest.raises(CaptureRefused, match=reason):
        file.read()


def test_backslashes_of_windows_tools_are_folders(make_zip, limits):
    (file,) = iter_files(make_zip({"set\\iris\\001_L_01.bmp": b"data"}), limits)
    assert file.path == PurePosixPath("set/iris/001_L_01.bmp")
    assert file.read() == b"data"


def test_link_members_are_refused(tmp_path, limits):
    info = zipfile.ZipInfo("iris/001_L_01.bmp")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert reasons(tmp_path / "a.zip", limits) == {"iris/001_L_01.bmp": "not_a_file"}


def test_of_members_with_one_name_only_the_first_is_taken(tmp_path, limits):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("iris/001_L_01.bmp", b"first")
        archive.writestr("iris/001_L_01.BMP", b"same but for case")
        archive.writestr("iris//001_L_01.bmp", b"same but for a slash")
        archive.writestr("./iris/./001_L_01.bmp", b"same but for dots")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("iris/001_L_01.bmp", b"again")
    assert read_all(tmp_path / "a.zip", limits) == {"iris/001_L_01.bmp": b"first"}
    refused = [f for f in iter_files(tmp_path / "a.zip", limits) if f.refusal]
    assert [f.refusal.reason for f in refused] == ["duplicate_member"] * 4


def test_encrypted_members_are_refused(make_zip, limits):
    source = make_zip({"iris/001_L_01.bmp": b"x" * 50})
    data = bytearray(source.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    source.write_bytes(data)
    assert reasons(source, limits) == {"iris/001_L_01.bmp": "encrypted_member"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_has_no_bound_is_refused(tmp_path, limits, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("iris/001_L_01.bmp", b"x")
    assert reasons(tmp_path / "a.zip", limits) == {"iris/001_L_01.bmp": "unsupported_compression"}


def test_bombs_are_refused(make_zip):
    source = make_zip({"iris/001_L_01.bmp": bytes(100_000), "iris/001_L_02.bmp": image(1)})
    assert reasons(source, Ingest(max_compression_ratio=100)) == {
        "iris/001_L_01.bmp": "compression_ratio"
    }
    assert reasons(source, Ingest(max_file_bytes=50_000, max_compression_ratio=10_000)) == {
        "iris/001_L_01.bmp": "too_large"
    }


def test_a_size_that_lies_in_the_header_gains_nothing(make_zip, limits):
    source = make_zip({"iris/001_L_01.bmp": bytes(10_000_000)})
    data = bytearray(source.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature) + offset
        data[place : place + 4] = (100).to_bytes(4, "little")
    source.write_bytes(data)
    (file,) = iter_files(source, limits)
    assert file.size == 100
    with pytest.raises(CaptureRefused, match="damaged_member"):
        file.read()


def test_a_damaged_member_is_refused_without_its_name(make_zip, limits):
    source = make_zip({"iris/Somebody_L_01.bmp": image(1), "iris/001_L_02.bmp": image(2)})
    data = bytearray(source.read_bytes())
    data[data.index(b"PK\x03\x04") + 200] ^= 0xFF
    source.write_bytes(data)
    damaged = next(f for f in iter_files(source, limits) if "Somebody" in f.path.name)
    with pytest.raises(CaptureRefused, match="damaged_member") as caught:
        damaged.read()
    assert "Somebody" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_whole_that_is_over_the_limits_is_an_error(tmp_path):
    files = flat_people(2, 2)
    for source in (write_folder(tmp_path / "f", files), write_zip(tmp_path / "a.zip", files)):
        with pytest.raises(SourceError, match=r"ingest\.max_members"):
            iter_files(source, Ingest(max_members=len(files) - 1))
        with pytest.raises(SourceError, match=r"ingest\.max_total_bytes"):
            iter_files(source, Ingest(max_total_bytes=sum(map(len, files.values())) - 1))
        assert len(list(iter_files(source, Ingest(max_members=len(files))))) == len(files)


def test_a_folder_keeps_its_links_inside(tmp_path, limits):
    (tmp_path / "secret.bmp").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    source = write_folder(tmp_path / "s", {"raw/a.bmp": b"a", "iris/001_L_01.bmp": b"b"})
    (source / "iris/001_L_02.bmp").symlink_to(tmp_path / "secret.bmp")
    (source / "iris/001_L_03.bmp").symlink_to("../raw/a.bmp")
    (source / "iris/001_L_04.bmp").symlink_to("nothing.bmp")
    (source / "iris/loop").symlink_to("..")
    (source / "iris/away").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(source / "iris/001_L_05.bmp")
    assert reasons(source, limits) == {
        "iris/001_L_02.bmp": "link_leaves_source",
        "iris/001_L_04.bmp": "broken_link",
        "iris/001_L_05.bmp": "not_a_file",
        "iris/away": "link_leaves_source",
    }
    assert read_all(source, limits) == {
        "raw/a.bmp": b"a",
        "iris/001_L_01.bmp": b"b",
        "iris/001_L_03.bmp": b"a",
    }


def test_a_source_that_is_itself_a_link(tmp_path, limits):
    write_folder(tmp_path / "real", {"iris/001_L_01.bmp": b"b"})
    (tmp_path / "link").symlink_to("real")
    assert read_all(tmp_path / "link", limits) == {"iris/001_L_01.bmp": b"b"}


def test_a_file_that_grew_or_went_is_refused(tmp_path):
    files = {"iris/001_L_01.bmp": b"x" * 10, "iris/001_L_02.bmp": b"x"}
    source = write_folder(tmp_path / "s", files)
    grown, gone = iter_files(source, Ingest(max_file_bytes=10))
    (source / "iris/001_L_01.bmp").write_bytes(b"x" * 11)
    (source / "iris/001_L_02.bmp").unlink()
    with pytest.raises(CaptureRefused, match="too_large"):
        grown.read()
    with pytest.raises(CaptureRefused, match="unreadable"):
        gone.read()
    (again,) = iter_files(source, Ingest(max_file_bytes=10))
    assert again.refusal is not None


def test_names_that_are_no_text(tmp_path, limits):
    (tmp_path / "iris").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/iris/\xff_L_01.bmp")).write_bytes(b"x")
    (file,) = iter_files(tmp_path, limits)
    assert file.path.as_posix().encode()
    assert file.read() == b"x"


def test_a_second_data_set_is_never_mixed_in(tmp_path, limits):
    source = write_folder(tmp_path / "s", kaggle_people("one/", 2) | kaggle_people("two/", 1))
    refused = reasons(source, limits)
    assert set(refused.values()) == {"outside_data_set"}
    assert all(name.startswith("two/") for name in refused)
    assert len(refused) == 12


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn", b"no archive at all"])
def test_sources_that_are_none(tmp_path, limits, content):
    source = tmp_path / "a.zip"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        iter_files(source, limits)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_sources(tmp_path, limits, make_zip):
    write_folder(tmp_path / "clutter", {"desktop.ini": b"", ".DS_Store": b""})
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "clutter", make_zip({})):
        with pytest.raises(SourceError, match="empty"):
            iter_files(source, limits)


def test_a_truncated_archive(make_zip, limits):
    source = make_zip(flat_people(1, 2))
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(SourceError, match=r"no readable \.zip"):
        iter_files(source, limits)


@pytest.mark.parametrize("stated", [6, 8])
def test_a_member_that_is_not_as_long_as_stated_is_refused(make_zip, limits, stated):
    source = make_zip({"iris/001_L_01.bmp": b"payload"})
    data = bytearray(source.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature) + offset
        data[place : place + 4] = stated.to_bytes(4, "little")
    source.write_bytes(data)
    (file,) = iter_files(source, limits)
    with pytest.raises(CaptureRefused, match="damaged_member"):
        file.read()


def test_members_that_share_their_bytes_are_refused(make_zip, limits):
    """The way of zip bombs that need no nesting."""
    source = make_zip({f"iris/001_L_0{number}.bmp": image(number) for number in (1, 2, 3)})
    data = bytearray(source.read_bytes())
    entries = [place for place in range(len(data)) if data[place : place + 4] == b"PK\x01\x02"]
    first = data[entries[0] + 42 : entries[0] + 46]
    for entry in entries[1:]:
        data[entry + 42 : entry + 46] = first
    source.write_bytes(data)
    found = [file.refusal and file.refusal.reason for file in iter_files(source, limits)]
    assert found == ["overlapping_member"] * 3


def test_more_members_than_allowed_are_counted_before_an_object_is_made_of_each(make_zip):
    source = make_zip({f"{number:04}.bmp": b"" for number in range(2000)})
    data = bytearray(source.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    for place in (8, 10):  # what the archive says of itself is not believed
        data[end + place : end + place + 2] = (1).to_bytes(2, "little")
    source.write_bytes(data)
    with pytest.raises(SourceError, match=r"ingest\.max_members"):
        check_size(io.BytesIO(bytes(data)), "a.zip", Ingest(max_members=1999))
    check_size(io.BytesIO(bytes(data)), "a.zip", Ingest(max_members=2000))


def test_members_of_a_large_archive_with_a_comment_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)  # writes the records of zip64
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.comment = b"a comment"
        for number in range(100):
            archive.writestr(f"{number:03}.bmp", b"")
    data = (tmp_path / "a.zip").read_bytes()
    assert b"PK\x06\x06" in data
    with pytest.raises(SourceError, match=r"ingest\.max_members"):
        check_size(io.BytesIO(data), "a.zip", Ingest(max_members=99))


def test_a_source_can_be_gone_through_again_and_knows_its_length(tmp_path, make_zip, limits):
    files = flat_people(2, 1)
    for source in (write_folder(tmp_path / "f", files), make_zip(files)):
        opened = open_source(source, limits)
        assert [f.path for f in opened] == [f.path for f in opened]
        assert len(opened) == len(files)


def test_members_can_be_read_in_several_threads(make_zip, limits):
    files = flat_people(10, 2)
    listed = list(iter_files(make_zip(files), limits))
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda file: file.read(), listed * 5))
    assert contents == [files[str(file.path)] for file in listed * 5]


def test_crc_is_really_checked(make_zip, limits):
    source = make_zip({"iris/001_L_01.bmp": b"payload"})
    data = bytearray(source.read_bytes())
    wrong = zlib.crc32(b"other").to_bytes(4, "little")
    place = data.index(b"PK\x01\x02") + 16
    data[place : place + 4] = wrong
    source.write_bytes(data)
    (file,) = iter_files(source, limits)
    with pytest.raises(CaptureRefused, match="damaged_member"):
        file.read()
