"""Names as people's tools write them: whoever is named alike is one person, and nobody else is."""

import os
import struct
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import pytest

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources import names
from biometric_core.sources.layouts import identified, parse
from biometric_core.sources.reader import iter_files
from biometric_core.storage.files import Files
from tests.support.small_sources import image

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


class Raw(zipfile.ZipInfo):
    """A member whose name is written as these bytes, without the UTF-8 flag unless it is set."""

    raw = b""
    flag = 0

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800 | self.flag


def member(raw: bytes, told: bytes | None = None, crc: int | None = None, flag: int = 0) -> Raw:
    info = Raw("x")
    info.raw, info.flag, info.filename = raw, flag, raw.decode("latin1")
    if told is not None:
        stated = zlib.crc32(raw) if crc is None else crc
        info.extra = struct.pack("<HHBL", 0x7075, 5 + len(told), 1, stated) + told
    return info


def packed(path: Path, *members: Raw) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, info in enumerate(members):
            archive.writestr(info, image(number))
    return path


@pytest.mark.parametrize(
    ("info", "subject"),
    [
        (member(f"iris/{NFC}_L_01.bmp".encode()), NFC),
        (member(f"iris/{NFD}_L_01.bmp".encode()), NFC),
        (member(f"iris/{NFD}_L_01.bmp".encode(), flag=0x800), NFC),
        (member(f"iris/{NFC}_L_01.bmp".encode("cp437")), NFC),
        (member(b"iris/Jos__L_01.bmp", f"iris/{NFD}_L_01.bmp".encode()), NFC),
        (member(f"iris/{NFC}_L_01.bmp".encode("cp437"), "iris/Øre_L_01.bmp".encode()), "Øre"),
        (member(b"iris/Jos__L_01.bmp", "iris/Øre_L_01.bmp".encode(), crc=1), "Jos_"),
        pytest.param(
            member(b"iris/Jos__L_01.bmp", b"iris/\xff_L_01.bmp"),
            "Jos_",
            marks=pytest.mark.skipif(sys.version_info >= (3, 13), reason="zipfile refuses it"),
        ),
        (member("iris/周_L_01.bmp".encode()), "周"),
    ],
)
def test_a_zip_names_the_person_whatever_wrote_it(tmp_path, info, subject):
    (file,) = iter_files(packed(tmp_path / "a.zip", info), Ingest())
    assert identified(file.path).subject == subject
    assert file.read() == image(0)


def test_names_whose_encoding_nothing_tells_are_read_as_cp437_and_that_is_said(tmp_path, caplog):
    source = packed(tmp_path / "a.zip", member("iris/Jörg_L_01.bmp".encode("latin1")))
    (file,) = iter_files(source, Ingest())
    assert identified(file.path).subject == "J÷rg"
    assert "1 names" in caplog.text
    assert "J÷rg" not in caplog.text


def test_a_name_that_is_marked_as_utf8_and_is_not_is_one_line(tmp_path):
    source = packed(tmp_path / "a.zip", member(b"iris/J\xf6rg_L_01.bmp", flag=0x800))
    with pytest.raises(SourceError, match="marked as UTF-8 and is not: pack it again"):
        iter_files(source, Ingest())


@pytest.mark.parametrize(
    "twice",
    [
        (member(f"iris/{NFC}_L_01.bmp".encode()), member(f"iris/{NFD}_L_01.bmp".encode())),
        (member(f"iris/{NFC}_L_01.bmp".encode()), member(f"iris/{NFC}_L_01.bmp".encode("cp437"))),
        (
            member(b"iris/x_L_01.bmp", f"iris/{NFC}_L_01.bmp".encode()),
            member(f"iris/{NFC}_L_01.bmp".encode(), flag=0x800),
        ),
    ],
)
def test_of_members_whose_names_become_equal_the_second_is_refused(tmp_path, twice):
    first, second = iter_files(packed(tmp_path / "a.zip", *twice), Ingest())
    kept = first if first.refusal is None else second
    assert kept.read() == image(0)
    assert {file.refusal.reason for file in (first, second) if file.refusal} == {"duplicate_member"}


def test_a_name_from_a_unicode_path_field_may_not_leave_the_archive(tmp_path):
    source = packed(tmp_path / "a.zip", member(b"iris/001_L_01.bmp", b"../../iris/001_L_01.bmp"))
    (file,) = iter_files(source, Ingest())
    assert file.refusal.reason == "path_leaves_archive"


def test_names_on_disk_that_are_no_utf8_stay_apart_and_readable_and_are_nobodys(tmp_path):
    (tmp_path / "iris").mkdir()
    for name in (b"J\xf6rg", b"J\xe4rg"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/iris/" + name + b"_L_01.bmp")).write_bytes(b"x")
    files = list(iter_files(tmp_path, Ingest()))
    assert [file.path.name for file in files] == ["J\\xe4rg_L_01.bmp", "J\\xf6rg_L_01.bmp"]
    for file in files:
        with pytest.raises(CaptureRefused, match="bad_name"):
            identified(file.path)


def test_keys_of_an_object_store_are_names_as_well(bucket):
    Files(bucket).write(f"iris/{NFD}_L_01.bmp", b"x")
    (file,) = iter_files(bucket, Ingest())
    assert identified(file.path).subject == NFC


@pytest.mark.parametrize(
    "path",
    [
        "iris/{}_L_01.bmp",
        "{}/left/anyl1.bmp",
        "fingerprint/{}_L_thumb_01.BMP",
        "d/sensor=a/{}/right/x.png",
    ],
)
def test_every_layout_has_one_normal_form(path):
    assert {parse(PurePosixPath(path.format(name))).subject for name in (NFC, NFD)} == {NFC}


@pytest.mark.parametrize(
    ("one", "other"), [("jörg", "Jörg"), ("１", "1"), ("ﬁ", "fi"), ("a b", "a  b"), ("Å", "A")]
)
def test_nothing_but_the_composition_is_put_together(one, other):
    people = {parse(PurePosixPath(f"iris/{name}_L_01.bmp")).subject for name in (one, other)}
    assert len(people) == 2


@pytest.mark.parametrize(
    "name",
    ["J\ufffdrg", "J\\xf6rg", "Jo\u200bsé", "José\u200e", "\ufeffJosé", "Jo\xadsé", "a\tb", " "],
)
def test_a_name_that_can_not_be_read_for_sure_is_refused_and_not_told(name):
    with pytest.raises(CaptureRefused) as caught:
        identified(PurePosixPath(f"iris/{name}_L_01.bmp"))
    assert caught.value.reason == "bad_name"
    assert name == " " or name not in str(caught.value)


@pytest.mark.parametrize("name", ["می\u200cروم", "क्\u200dष", "O'Brien", "Müller-Lüden", "周"])
def test_joiners_that_a_script_needs_are_part_of_a_name(name):
    assert identified(PurePosixPath(f"iris/{name}_L_01.bmp")).subject == name


@pytest.mark.parametrize("name", ["in.zip", "iris/001_L_01.ZIP", "7/left/a.tar.gz", "a.7z"])
def test_an_archive_within_a_source_is_said_to_be_one(name):
    with pytest.raises(CaptureRefused, match="nested_archive: an archive within the source"):
        identified(PurePosixPath(name))


def test_spellings_of_earlier_versions():
    assert list(names.spellings("001")) == ["001"]
    assert {NFC, NFD, NFC.encode().decode("cp437"), NFD.encode().decode("cp437")} == set(
        names.spellings(NFC)
    )
