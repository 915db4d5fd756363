"""Minutiae are looked for once; whatever became of what was kept, the answer is the same."""

import os
from pathlib import Path

import numpy as np
import pytest

from biometric_core.data.capture_sets import load_captures
from biometric_core.imaging.fingerprint import minutiae
from biometric_core.recogniser import kept_minutiae
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import fill


@pytest.fixture
def captures(config):
    fill(config, subjects=3, impressions=range(1, 3), modalities=(Modality.FINGERPRINT,))
    return load_captures(Store.of(config), config)[Modality.FINGERPRINT]


@pytest.fixture
def looked_at(monkeypatch):
    """How many images mindtct was given."""
    seen = []
    extract = minutiae.extract
    monkeypatch.setattr(minutiae, "extract", lambda image: seen.append(1) or extract(image))
    return seen


def kept(config) -> list[Path]:
    cache = Store.of(config).path("cache", "any").parent
    return sorted(cache.glob("minutiae-*/*.npy"))


def assert_same(found, expected):
    np.testing.assert_array_equal(found.similarities(expected), expected.similarities(expected))
    assert len(found) == len(expected) == 6


def plain(captures):
    return minutiae.encode(np.asarray(captures.images[:]), np.asarray(captures.masks[:]))


def test_what_is_kept_is_what_is_found(config, captures, looked_at):
    expected = plain(captures)
    looked_at.clear()
    assert_same(kept_minutiae.encode(captures), expected)
    assert len(looked_at) == len(kept(config)) == 6
    assert_same(kept_minutiae.encode(captures), expected)
    assert len(looked_at) == 6, "the second time nothing is looked for"
    part = kept_minutiae.encode(captures.select(np.array([4, 1])))
    chosen = plain(captures.select(np.array([4, 1])))
    np.testing.assert_array_equal(part.similarities(expected), chosen.similarities(expected))
    assert len(looked_at) == 8, "two, by the plain way that is compared with"


@pytest.mark.parametrize("damage", [b"", b"half", "cut", "another shape", "another kind"])
def test_a_damaged_file_is_found_anew(config, captures, looked_at, damage):
    expected = kept_minutiae.encode(captures)
    victim = kept(config)[2]
    whole = victim.read_bytes()
    if damage == "cut":
        victim.write_bytes(whole[: len(whole) // 2])
    elif damage == "another shape":
        np.save(victim, np.zeros((3, minutiae.COLUMNS + 1)))
    elif damage == "another kind":
        np.save(victim, np.zeros((3, minutiae.COLUMNS), np.float32))
    else:
        victim.write_bytes(damage)
    looked_at.clear()
    assert_same(kept_minutiae.encode(captures), expected)
    assert len(looked_at) == 1
    assert victim.read_bytes() == whole


def test_a_pickle_in_its_place_is_not_executed(config, captures, tmp_path):
    expected = kept_minutiae.encode(captures)

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    np.save(kept(config)[0], np.array([Bomb()], dtype=object), allow_pickle=True)
    assert_same(kept_minutiae.encode(captures), expected)
    assert not (tmp_path / "executed").exists()


def test_a_cache_that_cannot_be_written_costs_time_only(captures, looked_at, monkeypatch):
    def full(path, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(kept_minutiae, "atomic_write", full)
    expected = plain(captures)
    assert_same(kept_minutiae.encode(captures), expected)
    assert len(looked_at) == 12


def test_another_program_of_finding_has_another_folder(config, captures, monkeypatch):
    kept_minutiae.encode(captures)
    monkeypatch.setattr(kept_minutiae, "version", lambda name: "another")
    kept_minutiae._program.cache_clear()
    try:
        kept_minutiae.encode(captures)
    finally:
        kept_minutiae._program.cache_clear()
    assert len({path.parent for path in kept(config)}) == 2
    assert len(kept(config)) == 12


def test_images_of_no_store_leave_nothing(config, captures, looked_at):
    from dataclasses import replace

    loose = replace(
        captures, images=np.asarray(captures.images[:]), masks=np.asarray(captures.masks[:])
    )
    assert_same(kept_minutiae.encode(loose), plain(captures))
    assert kept(config) == []


def test_another_image_of_a_capture_is_looked_at_anew(config, captures, looked_at):
    kept_minutiae.encode(captures)
    name = kept_minutiae._name("a", captures.images[0])
    assert name != kept_minutiae._name("a", captures.images[1])
    assert name == kept_minutiae._name("a", captures.images[0].copy())
    assert len(looked_at) == 6
