"""How fast captures are generated, prepared and encoded, and templates searched, on one core."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch

from benchmarks.rows import Row, at_least, at_most, median_seconds
from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.fingerprint.normalisation import prepare as prepare_finger
from biometric_core.imaging.iris import phase_code
from biometric_core.imaging.iris.circles import Circle
from biometric_core.imaging.iris.localisation import localise
from biometric_core.imaging.iris.normalisation import prepare as prepare_eye
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality, UInt8Array
from biometric_core.sources.generator.eye_captures import Circle as GeneratedCircle
from biometric_core.sources.generator.eye_captures import render_eye
from biometric_core.sources.generator.finger_captures import render_finger

_IMAGES = 60
_IMPRESSIONS = 5
_TEMPLATES, _NUMBERS, _BATCH = 100_000, 256, 64
_SEED = 5


def rows(recogniser: Recogniser) -> list[Row]:
    """All of them, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return [*_generator(), *_localisation(), *_encoding(recogniser), *_search(recogniser)]
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)


def _eyes() -> list[UInt8Array]:
    return [render_eye((_SEED, n // 2), (_SEED, n, 1))[0] for n in range(_IMAGES)]


def _fingers() -> list[UInt8Array]:
    return [
        render_finger((_SEED, n // _IMPRESSIONS), (_SEED, n, 1), (320, 272)) for n in range(_IMAGES)
    ]


def _rate(work: Callable[[], Sequence[object]]) -> float:
    return _IMAGES / median_seconds(work)


def _generator() -> list[Row]:
    start = iter(range(10_000))  # other identities in every repeat: nothing comes from a cache

    def eyes() -> list[object]:
        first = next(start) * _IMAGES
        return [render_eye((_SEED, 1, first + n), (_SEED, 2, first + n)) for n in range(_IMAGES)]

    def fingers() -> list[object]:
        first = next(start) * _IMAGES
        return [
            render_finger((_SEED, 1, (first + n) // _IMPRESSIONS), (_SEED, 2, first + n))
            for n in range(_IMAGES)
        ]

    return [
        at_least("generator, irises", _rate(eyes), 100, "images/s", seed=_SEED),
        at_least(
            f"generator, fingers ({_IMPRESSIONS} impressions each)",
            _rate(fingers),
            25,
            "images/s",
            seed=_SEED,
        ),
    ]


def _localisation(count: int = 400) -> list[Row]:
    good = refused = 0
    for number in range(count):
        gray, truth = render_eye((_SEED, 3, number), (_SEED, 4, number))
        try:
            found = localise(gray)
        except FailureToAcquire:
            refused += 1
            continue
        good += _near(found.pupil, truth.pupil) and _near(found.limbus, truth.limbus)
    share = 100 * good / count
    return [
        at_least(
            "generated eyes with both circles within 2 pixels",
            share,
            98,
            "%",
            seed=_SEED,
            images=count,
            failures_to_acquire=refused,
        )
    ]


def _near(found: Circle, true: GeneratedCircle) -> bool:
    pairs = ((found.x, true.x), (found.y, true.y), (found.r, true.r))
    return all(abs(one - other) <= 2 for one, other in pairs)


def _encoding(recogniser: Recogniser) -> list[Row]:
    eyes, fingers = _eyes(), _fingers()

    def encode(modality: Modality, images: list[UInt8Array]) -> list[object]:
        prepare = prepare_eye if modality is Modality.IRIS else prepare_finger
        samples = [prepare(gray) for gray in images]
        pixels = np.stack([sample.image for sample in samples])
        masks = np.stack([sample.mask for sample in samples])
        recogniser.embed(modality, pixels, masks)
        if modality is Modality.IRIS:
            phase_code.encode(pixels, masks)
        return list(samples)

    return [
        at_least(
            f"{modality}: locate, normalise, encode",
            _rate(lambda modality=modality, images=images: encode(modality, images)),  # type: ignore[misc]
            60,
            "images/s",
            shape=images[0].shape,
        )
        for modality, images in ((Modality.IRIS, eyes), (Modality.FINGERPRINT, fingers))
    ]


def _search(recogniser: Recogniser) -> list[Row]:
    rng = np.random.default_rng(_SEED)
    vectors = rng.normal(size=(_TEMPLATES + _BATCH, _NUMBERS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probes, references = vectors[:_BATCH], np.ascontiguousarray(vectors[_BATCH:])
    found = []
    for count, label in ((1, "one probe"), (_BATCH, f"a probe of {_BATCH}")):
        few = probes[:count]
        plain = 1000 * median_seconds(lambda few=few: few @ references.T) / count  # type: ignore[misc]
        ours = median_seconds(
            lambda few=few: recogniser.compare(Modality.IRIS, few, references)  # type: ignore[misc]
        )
        ours = 1000 * ours / count
        found.append(
            at_most(
                f"1:N search, {_TEMPLATES:,} templates of {_NUMBERS}, {label}, "
                "against a matrix product",
                ours / plain,
                1.3,
                "ratio",
                baseline=1.0,
                milliseconds=ours,
                matrix_product_milliseconds=plain,
            )
        )
    return found
