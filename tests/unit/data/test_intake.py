"""Whom a file of a source is taken for, in a new store and in one from before."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.errors import DataError
from biometric_core.stages.ingest import IngestResult, ingest
from biometric_core.storage.store import Store
from tests.support.earlier_store import taken_in_before
from tests.support.small_sources import image, write_folder, write_zip
from tests.support.tiny_store import changed
from tests.unit.sources.test_names import member

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
MISREAD = NFC.encode().decode("cp437")  # by a version that took every zip for cp437


@pytest.fixture
def config(config: Config) -> Config:
    return changed(config, "ingest", max_refused_share=1.0)


def take(config: Config, source: Path) -> IngestResult:
    return ingest(config, source=str(source))


def subjects(config: Config) -> set[str]:
    return set(Store.of(config).read("captures")["subject_id"].to_pylist())


def eye(name: str, number: int) -> dict[str, bytes]:
    return {f"iris/{name}_L_{number:02}.bmp": image(number)}


def unflagged(path: Path, name: str, number: int, told: bytes | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        raw = f"iris/{name}_L_{number:02}.bmp".encode()
        archive.writestr(member(raw, told), image(number))
    return path


def test_one_person_is_one_person_from_every_source(config, tmp_path):
    told = f"iris/{NFD}_L_05.bmp".encode()
    for source in (
        write_folder(tmp_path / "composed", eye(NFC, 1)),
        write_folder(tmp_path / "decomposed", eye(NFD, 2)),
        write_zip(tmp_path / "flagged.zip", eye(NFD, 3)),
        unflagged(tmp_path / "unflagged.zip", NFD, 4),
        unflagged(tmp_path / "told.zip", "Jos_", 5, told),
    ):
        assert take(config, source).subjects == 1
    assert Store.of(config).read("captures").num_rows == 5


def test_two_people_whose_names_are_no_utf8_are_refused_and_counted(config, tmp_path):
    folder = tmp_path / "latin/iris"
    folder.mkdir(parents=True)
    for number, name in enumerate((b"J\xf6rg", b"J\xe4rg", b"J\xc3\xb6rg")):
        path = os.fsencode(folder) + b"/" + name + b"_L_01.bmp"
        Path(os.fsdecode(path)).write_bytes(image(number))
    result = take(config, tmp_path / "latin")
    assert (result.added, result.subjects, result.reasons) == (1, 1, {"bad_name": 2})
    assert Store.of(config).read("quarantine").num_rows == 2, "they are two files"


@pytest.mark.parametrize(
    ("packed", "limit"),
    [("inner.zip", 10**6), ("inner.zip", 100), ("iris/001_L_01.zip", 100), ("no suffix", 10**6)],
)
def test_a_zip_in_a_zip_is_said_to_be_one(config, tmp_path, packed, limit):
    config = changed(config, "ingest", max_file_bytes=limit, max_refused_share=0.5)
    inner = write_zip(tmp_path / "inner.zip", eye("001", 1)).read_bytes()
    with pytest.raises(DataError, match=r"1 of 1 files were refused .*'nested_archive': 1"):
        take(config, write_zip(tmp_path / "outer.zip", {packed: inner}))
    (row,) = Store.of(config).read("quarantine").to_pylist()
    assert row["detail"] == "an archive within the source: unpack it, or give it by itself"


@pytest.mark.parametrize(
    ("then", "later"),
    [(NFD, NFD), (NFD, NFC), (MISREAD, NFC), (NFD.encode().decode("cp437"), NFC)],
)
def test_who_was_named_otherwise_before_keeps_the_pseudonym_and_it_is_told(
    config, tmp_path, caplog, then, later
):
    taken_in_before(config, write_folder(tmp_path / "one", eye(NFC, 1)), {NFC: then})
    before = subjects(config)
    result = take(config, write_folder(tmp_path / "two", eye(later, 2) | eye("001", 3)))
    assert (result.added, result.subjects) == (2, 2)
    assert subjects(config) > before
    assert "1 people of the source are in the store by another spelling" in caplog.text
    assert NFC not in caplog.text
    assert take(config, tmp_path / "two").known == 2
    assert take(config, tmp_path / "one").known == 1


def test_who_was_read_otherwise_from_a_zip_keeps_the_pseudonym(config, tmp_path):
    told = f"iris/{NFC}_L_01.bmp".encode()
    source = unflagged(tmp_path / "a.zip", "Jos_", 1, told)
    taken_in_before(config, source, {NFC: "Jos_"})
    assert take(config, source).known == 1
    later = unflagged(tmp_path / "b.zip", "Jos_", 2, f"iris/{NFC}_L_02.bmp".encode())
    assert (take(config, later).added, len(subjects(config))) == (1, 1)


def test_nobody_who_was_two_people_before_is_put_together_anew(config, tmp_path, caplog):
    names = {"a": NFC, "b": NFD}
    files = eye("a", 1) | eye("b", 2)
    taken_in_before(config, write_folder(tmp_path / "one", files), names)
    later = write_folder(tmp_path / "two", eye(NFC, 1) | eye(NFD, 2) | eye(NFC, 3) | eye(NFD, 4))
    result = take(config, later)
    assert (result.added, result.known, result.subjects) == (2, 2, 2)
    assert "1 of them are another person there as well" in caplog.text
    pseudonyms = Pseudonymiser.of(Store.of(config))
    rows = Store.of(config).read("captures").to_pylist()
    found = {row["impression"]: row["subject_id"] for row in rows}
    assert found[3] == pseudonyms.of_subject("default", NFC)
    assert found[4] == pseudonyms.of_subject("default", NFD)
