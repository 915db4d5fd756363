from pathlib import Path

import pyarrow as pa
import pytest

from biometric_core.errors import StorageError
from biometric_core.schemas import TABLES
from biometric_core.storage.files import Files
from biometric_core.storage.folders import local_path
from biometric_core.storage.store import Store

ROW = dict.fromkeys(TABLES["quarantine"].names) | {"file_id": "f", "reason": "r"}
NAMES = ["[x]", "a%20b", "a#b", "q?x", "ünï", "my data", "100%", "a:b", "a*b", "back\\slash", "p|q"]


def _written(store: Store) -> list[str]:
    store.append_new("quarantine", pa.Table.from_pylist([ROW], TABLES["quarantine"]))
    store.files.write("images/x", b"1")
    store.replace("quarantine", store.read("quarantine"), "file_id = 'f'")
    store.compact("quarantine")
    return store.read("quarantine")["file_id"].to_pylist()


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_a_store_lies_in_a_folder_of_any_name(tmp_path, name, there):
    if there:
        (tmp_path / name).mkdir()
    assert _written(Store(tmp_path / name)) == ["f"]
    assert Store(tmp_path / name).read("quarantine").num_rows == 1, "opened again"
    assert (tmp_path / name / "images" / "x").read_bytes() == b"1"
    assert (tmp_path / name / "tables" / "quarantine" / "_delta_log").is_dir()
    assert sum(1 for _ in tmp_path.rglob("_delta_log")) == 1


@pytest.mark.parametrize("name", ["[x]/data", "[x]"])
def test_what_delta_cannot_name_is_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / "[x]").mkdir()
    (tmp_path / "[x]" / "mine").write_text("")
    with pytest.raises(StorageError, match=r"choose .*folder"):
        Store(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["[x]", "mine"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///tmp/my%20url", "/tmp/my url"),
        ("file://localhost/tmp/a", "/tmp/a"),
        ("file:/tmp/a%23b", "/tmp/a#b"),
        ("/tmp/a%20b", "/tmp/a%20b"),
        ("file://rel/my%20url", "{here}/rel/my url"),
        ("file:rel", "{here}/rel"),
        ("rel", "{here}/rel"),
        ("~/x", "{home}/x"),
        ("./~/x", "{here}/~/x"),
    ],
)
def test_addresses_and_paths_name_one_folder(tmp_path, monkeypatch, text, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wanted = path.format(here=tmp_path, home=tmp_path / "home")
    assert local_path(text) == Path(wanted)
    assert Files(text).root == wanted


def test_an_address_with_spaces_is_the_folder_it_names(tmp_path):
    assert _written(Store(f"file://{tmp_path}/my%20url")) == ["f"]
    assert (tmp_path / "my url" / "tables").is_dir()
