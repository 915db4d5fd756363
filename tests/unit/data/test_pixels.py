import pickle
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pytest

from biometric_core.data import pixels
from biometric_core.data.capture_sets import load_captures
from biometric_core.data.memory_map import materialised
from biometric_core.data.pixels import Pixels
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import fill, small


@pytest.fixture
def captures(config):
    config = small(config)
    fill(config, subjects=6)
    return load_captures(Store.of(config), config)[Modality.IRIS]


@pytest.fixture
def expected(captures):
    return np.array(captures.images)


def test_they_read_as_an_array_does(captures, expected):
    images = captures.images
    assert isinstance(images, Pixels)
    assert images.shape == expected.shape == (24, 16, 32)
    assert images.dtype == np.uint8
    wanted = np.random.default_rng(0).permutation(24)[:7]
    mask = np.arange(24) % 3 == 0
    for index in (3, -1, slice(2, 9), wanted, mask, [1, 1, 0]):
        assert (images[index] == expected[index]).all()
        assert type(images[index]) is np.ndarray
    assert all((one == other).all() for one, other in zip(images, expected, strict=True))
    assert not images[0].flags.writeable


def test_a_selection_of_a_selection_reads_nothing(captures, expected, monkeypatch):
    first, second = np.arange(24)[::-1], np.array([5, 0, 5])
    with monkeypatch.context() as patched:
        patched.setattr(Pixels, "__getitem__", lambda *args: pytest.fail("pixels were read"))
        chosen = captures.select(first).select(second)
    assert (chosen.images[:] == expected[first][second]).all()
    assert chosen.capture_id.tolist() == captures.capture_id[first][second].tolist()
    assert len(captures.select(np.zeros(24, bool))) == 0


def test_pixels_of_a_subject_lie_together(captures):
    with pa.memory_map(str(materialised(captures.images.origin))) as source:
        ids = pa.ipc.open_file(source).get_batch(0)["capture_id"].to_pylist()
    subject = dict(zip(captures.capture_id.tolist(), captures.subject_id.tolist(), strict=True))
    assert [subject[name] for name in ids] == sorted(subject.values())


def test_another_process_gets_a_reference_and_reads_the_file_itself(captures, expected):
    sent = pickle.dumps(captures.select(np.arange(3, 20)))
    assert len(sent) < expected.nbytes / 2
    with get_context("spawn").Pool(1) as pool:
        found = pool.apply(_rows, (sent,))
    assert (found == expected[3:20]).all()


def _rows(sent):
    return np.array(pickle.loads(sent).images)


def test_where_the_file_is_missing_it_is_made_from_the_store(captures, expected, config):
    sent = pickle.dumps(captures)
    for file in Store.of(config).path("cache", "x").parent.glob("*.arrow"):
        file.unlink()
    assert (np.array(pickle.loads(sent).images) == expected).all()


def test_a_file_that_is_removed_before_it_is_opened_is_made_again(captures, expected, monkeypatch):
    origin, removed = captures.images.origin, []

    def removed_once(origin):
        path = materialised(origin)
        if not removed:
            path.unlink()
            removed.append(path)
        return path

    monkeypatch.setattr(pixels, "materialised", removed_once)
    assert (np.array(Pixels(origin, "image", captures.images._chosen)) == expected).all()
    assert removed


def test_a_selection_needs_no_file_once_the_pixels_are_open(captures, expected, config):
    assert captures.images.shape == expected.shape
    files = list(Store.of(config).path("cache", "x").parent.glob("*.arrow"))
    for file in files:
        file.unlink()
    assert (captures.select(np.arange(5)).images[:] == expected[:5]).all()
    assert not any(file.exists() for file in files)
