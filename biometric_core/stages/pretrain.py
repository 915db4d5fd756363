"""Make the branches that training starts from, out of generated people alone."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biometric_core.config import Config, Preprocess
from biometric_core.data.capture_sets import CaptureSet, from_columns
from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.fingerprint.normalisation import prepare as prepare_finger
from biometric_core.imaging.iris.normalisation import prepare as prepare_eye
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE
from biometric_core.matching.comparisons import compare_all
from biometric_core.matching.error_rates import eer
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import choose
from biometric_core.parallel.progress import track
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import BiometricNet
from biometric_core.schemas import EYES, POSITIONS, Modality, Sample
from biometric_core.sources import sensor_change
from biometric_core.sources.generator.people import FINGER_ORDER, render
from biometric_core.sources.layouts import SourceCapture
from biometric_core.storage.private import owner_only
from biometric_core.training.assembly import calibrated, recogniser_of
from biometric_core.training.fit import fit

_log = logging.getLogger(__name__)
_VALIDATION = 0.08  # of the people: early stopping and calibration
_PEOPLE_A_CHUNK = 8
_WORN = 3  # every third impression comes from a worn sensor: branches must not learn one sensor
# Sensors of several sizes: how much of a finger a capture shows must tell nothing.
_FINGER_SHAPES = ((192, 160), (256, 224), (320, 272))


@dataclass(frozen=True)
class PretrainResult:
    """What `pretrain` made: `eer` by modality, on generated people who were not trained on."""

    path: str
    people: int
    captures: int
    eer: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class _Chunk:
    people: tuple[int, ...]
    seed: int
    impressions: int
    settings: Preprocess


@owner_only()
def pretrain(config: Config, *, out: str) -> PretrainResult:
    """Fit a recogniser on generated people and keep what does not depend on them.

    Args:
        config: `pretraining` says how many people and how long; `training` all else.
        out: folder for the recogniser: no training subjects, weights in half precision.
    """
    start = time.monotonic()
    settings = config.pretraining
    sets = generated_sets(config)
    held_back = settings.subjects - max(2, round(_VALIDATION * settings.subjects))
    names = [_name(number) for number in range(held_back)]
    train = {m: s.select(np.isin(s.subject_id, names)) for m, s in sets.items()}
    validation = {m: s.select(~np.isin(s.subject_id, names)) for m, s in sets.items()}
    chosen = settings.model_dump(include={"epochs", "batch_size", "learning_rate"})
    training = config.training.model_copy(update={**chosen, "pretrained": False})
    tuned = config.model_copy(update={"training": training})
    fitted = fit(train, validation, tuned)
    recogniser = calibrated(recogniser_of(fitted, {}, tuned), validation, real=False)
    without_people(recogniser).save(Path(out))
    rates = _error_rates(Recogniser.load(Path(out)), validation)
    captures = sum(len(found) for found in sets.values())
    return PretrainResult(
        out, settings.subjects, captures, rates, round(time.monotonic() - start, 1)
    )


def generated_sets(config: Config) -> dict[Modality, CaptureSet]:
    """Captures of generated people, prepared, in memory: two eyes and two fingers each."""
    settings = config.pretraining
    numbers = range(settings.subjects)
    chunks = [
        _Chunk(
            tuple(numbers[first : first + _PEOPLE_A_CHUNK]),
            settings.seed,
            settings.impressions,
            config.preprocess,
        )
        for first in range(0, settings.subjects, _PEOPLE_A_CHUNK)
    ]
    captures = settings.subjects * settings.impressions * 4
    executor = choose(config, captures, 2 * SECONDS_PER_CAPTURE)  # rendering takes as long again
    done = map_chunks(_render_people, chunks, executor, config)
    found: dict[Modality, list[tuple[SourceCapture, Sample]]] = {m: [] for m in Modality}
    for pairs in track(done, total=len(chunks), description="generating people"):
        for capture, sample in pairs:
            found[capture.modality].append((capture, sample))
    return {modality: _set(modality, pairs) for modality, pairs in found.items()}


def _render_people(chunk: _Chunk) -> list[tuple[SourceCapture, Sample]]:
    return [pair for number in chunk.people for pair in _render_person(chunk, number)]


def _render_person(chunk: _Chunk, number: int) -> Iterator[tuple[SourceCapture, Sample]]:
    shape = _FINGER_SHAPES[number % len(_FINGER_SHAPES)]
    places = [(Modality.IRIS, eye) for eye in EYES]
    places += [(Modality.FINGERPRINT, finger) for finger in FINGER_ORDER[:2]]
    for modality, position in places:
        for impression in range(1, chunk.impressions + 1):
            capture = SourceCapture(_name(number), modality, position, impression)
            gray = render((chunk.seed, number), capture, finger_shape=shape)
            if impression % _WORN == 0:
                seed = (chunk.seed, number, POSITIONS[modality].index(position), impression)
                gray = sensor_change.apply(gray, sensor_change.WORN, np.random.default_rng(seed))
            try:
                if modality is Modality.IRIS:
                    yield capture, prepare_eye(gray, chunk.settings.iris_shape)
                else:
                    yield capture, prepare_finger(gray, chunk.settings.fingerprint_shape)
            except FailureToAcquire:
                continue  # some are meant to fail, as people's do


def _name(number: int) -> str:
    return f"{number:06d}"


def _set(modality: Modality, pairs: Sequence[tuple[SourceCapture, Sample]]) -> CaptureSet:
    captures = [capture for capture, _ in pairs]
    columns: dict[str, Any] = {
        "capture_id": [f"{c.subject}-{c.position}-{c.impression}" for c in captures],
        "subject_id": [c.subject for c in captures],
        "position": [c.position for c in captures],
        "impression": [c.impression for c in captures],
        **{name: [""] * len(captures) for name in ("sensor", "split")},
        "captured_at": [np.datetime64(0, "us")] * len(captures),
    }
    return from_columns(
        modality,
        columns,
        images=np.stack([sample.image for _, sample in pairs]),
        masks=np.stack([sample.mask for _, sample in pairs]),
        quality=np.array([sample.quality["overall"] for _, sample in pairs], np.float32),
    )


def without_people(recogniser: Recogniser) -> Recogniser:
    """The same branches and fusions, with heads of a single class; weights in half precision."""
    one = dict.fromkeys(recogniser.modalities, 1)
    spec = recogniser.spec.model_copy(update={"identities": one, "subjects": 1})
    net = BiometricNet(spec)
    kept = {
        name: tensor
        for name, tensor in recogniser.net.state_dict().items()
        if name.startswith(("branches.", "fusions."))
    }
    net.load_state_dict(kept, strict=False)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name not in kept:
                parameter.zero_()
            if parameter.ndim > 1:
                parameter.data = parameter.data.half()
    return replace(recogniser, spec=spec, net=net.eval(), subjects=())


def _error_rates(recogniser: Recogniser, sets: Mapping[Modality, CaptureSet]) -> dict[str, float]:
    embeddings = {modality: recogniser.embed_set(captures) for modality, captures in sets.items()}
    rates = {}
    for name, gallery in recogniser.galleries(sets, embeddings).items():
        found = compare_all(gallery)
        rate = eer(found.scores, found.mated)
        if rate is not None:
            rates[name] = round(rate, 5)
    return rates
