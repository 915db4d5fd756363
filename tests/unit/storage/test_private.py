"""What is made below the storage root is the owner's alone, whatever the umask was."""

import logging
import os
import stat
import threading
from pathlib import Path

import pytest

from biometric_core.storage import private
from biometric_core.storage.private import close, owner_only
from biometric_core.storage.store import Store


@pytest.fixture(autouse=True, params=[0o022, 0o002, 0o000])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened(folder: Path) -> Path:
    """A store as an earlier version left it."""
    for part, name in (("tables/captures", "0.parquet"), ("images/ab", "1.png"), ("cache", "x")):
        (folder / part).mkdir(parents=True)
        (folder / part / name).write_bytes(b"x")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o2775 if path.is_dir() else 0o664)
    return folder


def open_ones(folder: Path) -> list[str]:
    found = [folder, *folder.rglob("*")]
    return [str(path) for path in found if mode(path) & 0o077 and not path.is_symlink()]


def test_files_and_folders_made_within_are_private_and_the_umask_comes_back(tmp_path, umask):
    with owner_only():
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
    assert (mode(tmp_path / "folder"), mode(tmp_path / "file")) == (0o700, 0o600)
    assert os.umask(umask) == umask


def test_a_stricter_umask_stays():
    before = os.umask(0o277)
    try:
        with owner_only():
            assert os.umask(0o277) == 0o277
    finally:
        os.umask(before)


def test_it_nests_and_an_error_gives_the_umask_back(umask):
    @owner_only()
    def fails() -> None:
        with owner_only():
            pass
        assert os.umask(0o077) == 0o077
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fails()
    assert os.umask(umask) == umask


def test_the_first_thread_that_leaves_doesnt_open_what_another_makes(tmp_path, umask):
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with owner_only():
            inside.set()
            assert leave.wait(30)

    thread = threading.Thread(target=other)
    with owner_only():
        thread.start()
        assert inside.wait(30)
    (tmp_path / "file").touch()
    leave.set()
    thread.join()
    assert mode(tmp_path / "file") == 0o600
    assert os.umask(umask) == umask


def test_a_store_closes_what_an_earlier_version_left_open(tmp_path):
    root = opened(tmp_path / "data")
    Store(root)
    assert open_ones(root) == []
    assert (root / "images/ab/1.png").read_bytes() == b"x"


def test_a_folder_that_is_shared_with_other_things_keeps_its_mode_and_they_theirs(tmp_path, caplog):
    root = opened(tmp_path / "data")
    (root / "photos").mkdir()
    (root / "photos" / "me.png").touch()
    (root / "notes.txt").touch()
    for path in (root / "photos", root / "photos" / "me.png", root / "notes.txt"):
        path.chmod(0o755)
    with caplog.at_level(logging.WARNING):
        Store(root)
        Store(root)
    left = {str(root), *(str(root / n) for n in ("photos", "photos/me.png", "notes.txt"))}
    assert set(open_ones(root)) == left
    assert len(caplog.messages) == 1
    assert "holds other things too" in caplog.messages[0]


def test_links_are_not_followed_but_a_part_may_be_one(tmp_path):
    root, disk, other = tmp_path / "data", tmp_path / "disk", tmp_path / "other"
    opened(root)
    (root / "images").rename(disk)
    (root / "images").symlink_to(disk)
    other.mkdir()
    (other / "file").touch()
    for path in (other, other / "file"):
        path.chmod(0o755)
    (root / "cache" / "out").symlink_to(other)
    Store(root)
    assert open_ones(disk) == []
    assert (mode(other), mode(other / "file")) == (0o755, 0o755)


def test_what_is_closed_already_is_not_walked_through(tmp_path):
    root = opened(tmp_path / "data")
    (root / "images").chmod(0o700)
    Store(root)
    assert mode(root / "images/ab/1.png") == 0o664, "nobody else gets past images/"
    assert mode(root / "tables/captures/0.parquet") == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_is_told_once_with_what_to_do(tmp_path, caplog, monkeypatch):
    root = opened(tmp_path / "data")
    # Without the right to change what is another's, as an ordinary user.
    monkeypatch.setattr(Path, "chmod", _refused)
    monkeypatch.setattr(private, "_told", set())
    with caplog.at_level(logging.WARNING):
        close(root)
        close(root)
    assert len(caplog.messages) == 1
    assert f"chmod -R go= '{root}'" in caplog.messages[0]


def _refused(*_: object, **__: object) -> None:
    raise PermissionError
