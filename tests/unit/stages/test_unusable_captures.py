"""Whatever is handed in: refused, failed to acquire, or compared without a confident match."""

import cv2
import numpy as np
import pytest

from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.sources.generator.eye_captures import render_eye
from biometric_core.sources.generator.finger_captures import render_finger
from biometric_core.training import pretrained

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT
PEOPLE = 12
CONFIDENT = -np.log(0.001)  # the LLR from which an FMR of 0.1 % is accepted


def capture(modality, person, impression):
    if modality is IRIS:
        return render_eye((61, person), (62, person, impression))[0]
    return render_finger((61, person), (62, person, impression), (256, 224))


@pytest.fixture(scope="module")
def recogniser():
    return Recogniser.load(pretrained.FOLDER)


@pytest.fixture(scope="module")
def enrolled(recogniser):
    return {
        modality: [acquired(recogniser, capture(modality, n, 1), modality) for n in range(PEOPLE)]
        for modality in Modality
    }


def acquired(recogniser, gray, modality):
    return recogniser.acquire(cv2.imencode(".png", gray)[1].tobytes(), modality)


def noise(shape, coarse, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.normal(size=(max(2, shape[0] // coarse), max(2, shape[1] // coarse)))
    field = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("level", [0, 127, 255])
def test_blank_images_are_not_acquired(recogniser, modality, level):
    with pytest.raises((FailureToAcquire, CaptureRefused)):
        acquired(recogniser, np.full((240, 320), level, np.uint8), modality)


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("coarse", [1, 2, 4, 8, 16, 32])
def test_noise_matches_nobody(recogniser, enrolled, modality, coarse):
    for seed in range(3):
        try:
            sample = acquired(recogniser, noise((240, 320), coarse, seed), modality)
        except (FailureToAcquire, CaptureRefused):
            continue
        assert recogniser.compare_samples(modality, [sample], enrolled[modality]).max() < CONFIDENT


def halves(gray):
    blank = np.full_like(gray, 128)
    middle_row, middle_column = gray.shape[0] // 2, gray.shape[1] // 2
    upper, left = gray.copy(), gray.copy()
    upper[middle_row:], left[:, middle_column:] = blank[middle_row:], blank[:, middle_column:]
    return {"upper half": upper, "left half": left}


def turned(gray):
    return {
        "upside down": np.ascontiguousarray(gray[::-1, ::-1]),
        "a quarter turned": np.ascontiguousarray(np.rot90(gray)),
        "mirrored": np.ascontiguousarray(gray[:, ::-1]),
    }


@pytest.mark.parametrize("modality", Modality)
def test_turned_and_half_missing_captures_match_nobody_else(recogniser, enrolled, modality):
    found = {}
    for person in range(PEOPLE):
        gray = capture(modality, person, 2)
        whole = acquired(recogniser, gray, modality)
        for name, changed in {**turned(gray), **halves(gray)}.items():
            try:
                sample = acquired(recogniser, changed, modality)
            except (FailureToAcquire, CaptureRefused):
                continue
            found[person, name] = sample
            if name in halves(gray):
                assert sample.quality["overall"] < whole.quality["overall"], (person, name)
    assert found
    scores = recogniser.compare_samples(modality, list(found.values()), enrolled[modality])
    for (person, name), row in zip(found, scores, strict=True):
        assert np.delete(row, person).max() < CONFIDENT, (person, name)


@pytest.mark.parametrize("modality", Modality)
def test_the_other_modality_is_not_acquired_or_matches_nobody(recogniser, enrolled, modality):
    other = FINGER if modality is IRIS else IRIS
    for person in range(4):
        try:
            sample = acquired(recogniser, capture(other, person, 1), modality)
        except (FailureToAcquire, CaptureRefused):
            continue
        assert recogniser.compare_samples(modality, [sample], enrolled[modality]).max() < CONFIDENT
