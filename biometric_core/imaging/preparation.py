"""One capture, or a batch of one modality, to fixed-size, normalised images: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.imaging.decoding import read
from biometric_core.imaging.fingerprint.normalisation import prepare as prepare_finger
from biometric_core.imaging.iris.normalisation import prepare as prepare_eye
from biometric_core.schemas import Float32Array, Modality, Sample, UInt8Array

# Raise it when a prepared image would differ: older rows stay readable, newer ones are made beside.
ALGORITHM = "2"
UNREADABLE = "unreadable"  # the failure of a capture whose file is no longer there
SECONDS_PER_CAPTURE = 0.008  # measured on one core; only decides which executor is worth its start


@dataclass(frozen=True)
class PreparedBatch:
    """What a batch of N captures of one modality became, A of them acquired.

    Attributes:
        images, masks: uint8 (A, H, W), the acquired ones in order.
        quality: float32 (N,), in [0, 1]; 0 on a failure.
        failures: for each of the N captures None, or the reason why there is no image.
    """

    images: UInt8Array
    masks: UInt8Array
    quality: Float32Array
    failures: tuple[str | None, ...]


def prepare(
    data: bytes,
    modality: Modality,
    settings: Preprocess,
    limits: Ingest,
    bits: int | None = None,
) -> Sample:
    """Decode one capture's file and prepare it.

    Args:
        data: the file's bytes.
        modality: decides how.
        settings: decides the shapes.
        limits: bounds on hostile input.
        bits: that the sensor fills of 16, where the file doesn't state it.

    Raises:
        CaptureRefused: the bytes are no acceptable image.
        FailureToAcquire: the image holds no usable iris or fingerprint.
    """
    image = read(data, limits, bits)
    if modality is Modality.IRIS:
        return prepare_eye(image.gray, settings.iris_shape)
    return prepare_finger(image.gray, settings.fingerprint_shape, image.dpi)


def prepare_batch(
    files: Sequence[bytes | None],
    modality: Modality,
    settings: Preprocess,
    limits: Ingest,
    bits: Sequence[int | None] | None = None,
) -> PreparedBatch:
    """Prepare the files of one modality; what can't be prepared becomes a failure, not an error.

    Args:
        files: their bytes; None where a file can't be read.
        modality: of all.
        settings: decides the shapes.
        limits: bounds on hostile input.
        bits: of each file, see `prepare`; unknown when None.
    """
    shape = settings.iris_shape if modality is Modality.IRIS else settings.fingerprint_shape
    images = np.empty((len(files), *shape), np.uint8)
    masks = np.empty_like(images)
    quality = np.zeros(len(files), np.float32)
    failures: list[str | None] = []
    acquired = 0
    for number, data in enumerate(files):
        if data is None:
            failures.append(UNREADABLE)
            continue
        try:
            sample = prepare(data, modality, settings, limits, bits[number] if bits else None)
        except (FailureToAcquire, CaptureRefused) as failure:
            failures.append(failure.reason)
            continue
        images[acquired], masks[acquired] = sample.image, sample.mask
        quality[number] = sample.quality["overall"]
        failures.append(None)
        acquired += 1
    return PreparedBatch(images[:acquired], masks[:acquired], quality, tuple(failures))


def preprocess_version(config: Config) -> str:
    """Name of the preprocessing: the algorithm's version and the shapes it makes."""
    return version_of(config.preprocess)


def version_of(settings: Preprocess) -> str:
    """`preprocess_version` of these settings."""
    shapes = (settings.iris_shape, settings.fingerprint_shape)
    return "-".join([ALGORITHM, *(f"{height}x{width}" for height, width in shapes)])
