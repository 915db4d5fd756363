import cv2
import numpy as np
import pytest

from biometric_core.config import Ingest, Preprocess
from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.imaging.preparation import prepare, prepare_batch
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.schemas import Modality
from tests.conftest import png
from tests.unit.stages.test_ingest import noise


@pytest.fixture
def eye(people) -> bytes:
    return next(iter(sorted((people / "iris").iterdir()))).read_bytes()


def test_a_batch_is_what_its_captures_are_one_by_one(people):
    files = [path.read_bytes() for path in sorted((people / "iris").iterdir())]
    batch = prepare_batch(files, Modality.IRIS, Preprocess(), Ingest())
    alone = [prepare(data, Modality.IRIS, Preprocess(), Ingest()) for data in files]
    assert batch.failures == (None,) * len(files)
    assert (batch.images == np.stack([sample.image for sample in alone])).all()
    assert (batch.masks == np.stack([sample.mask for sample in alone])).all()
    assert batch.quality == pytest.approx([sample.quality["overall"] for sample in alone])


def test_what_cannot_be_prepared_leaves_the_others_in_their_places(eye):
    files = [b"no image", eye, None, png(noise(1, (240, 320))), eye]
    batch = prepare_batch(files, Modality.IRIS, Preprocess(), Ingest())
    assert [failure is None for failure in batch.failures] == [False, True, False, False, True]
    assert batch.failures[2] == "unreadable"
    assert batch.images.shape == (2, 64, 512)
    assert (batch.images[0] == batch.images[1]).all()
    assert batch.quality[[0, 2, 3]].tolist() == [0, 0, 0]


def test_a_batch_of_nothing_but_failures_has_no_image():
    batch = prepare_batch([b"", None], Modality.FINGERPRINT, Preprocess(), Ingest())
    assert batch.images.shape == (0, 224, 224)
    assert batch.failures == ("empty_file", "unreadable")


def test_one_capture_that_is_none_is_an_error():
    with pytest.raises(CaptureRefused):
        prepare(b"x", Modality.IRIS, Preprocess(), Ingest())
    with pytest.raises(FailureToAcquire):
        prepare(png(noise(1, (240, 320))), Modality.IRIS, Preprocess(), Ingest())


def test_threads_are_as_before_afterwards():
    before = cv2.getNumThreads()
    with one_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before
