"""Batch inference through Ray against a loop over the same model, one capture at a time."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.captures import Images, replicate
from benchmarks.rows import Row, at_least, medians
from biometric_core.config import Config, load_config
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.parallel.ray_pool import ray_cluster
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.sources.layouts import parse
from biometric_core.sources.reader import SourceFile, iter_files
from biometric_core.stages.predict import predict
from biometric_core.stages.register import register
from biometric_core.tracking import registry, runs

_CAPTURES = 640
_LOOPED = 4  # the loop sees every fourth capture: it takes its time
_SUBJECTS = 40  # of the model


def rows(images: Images, folder: Path, repeats: int) -> list[Row]:
    """Captures a second of both, medians of `repeats`, taken in turns.

    The loop is run as it comes, with the threads that OpenCV, BLAS and PyTorch start by themselves;
    `loop_one_thread` is the same where OpenCV and BLAS may use one.

    Args:
        images: gray captures to multiply.
        folder: scratch; captures, a registry and the results are made there.
        repeats: of each.
    """
    config, source = _config(folder), folder / "captures"
    replicate(images, source, _CAPTURES, config)
    recogniser = _recogniser(config)
    _promote(config, recogniser, folder)
    files = [file for file in iter_files(source, config.ingest) if parse(file.path)]
    few = files[::_LOOPED]
    out = str(folder / "rows.parquet")
    batch = partial(predict, config, source=str(source), out=out)
    loop = partial(_one_by_one, recogniser, few)
    slow_loop = partial(_one_by_one_in_one_thread, recogniser, few)
    with ray_cluster(config):
        taken = medians(batch, loop, slow_loop, repeats=repeats)
    counts = (len(files), len(few), len(few))
    rate, plain, single = (count / seconds for count, seconds in zip(counts, taken, strict=True))
    return [
        at_least(
            "batch scoring, captures a second against a loop with batch 1",
            rate / plain,
            4,
            "ratio",
            baseline=1.0,
            captures=len(files),
            captures_per_second=rate,
            loop=plain,
            loop_one_thread=single,
        )
    ]


def _config(folder: Path) -> Config:
    return load_config(
        None,
        {
            "storage": {"root": str(folder / "data")},
            "mlflow": {
                "tracking_uri": f"sqlite:///{folder}/mlflow.db",
                "artifact_root": str(folder / "artifacts"),
            },
            "preprocess": {"executor": "ray", "chunk_size": 64},
        },
    )


def _recogniser(config: Config) -> Recogniser:
    """The usual network with untrained weights: they don't change how long it takes."""
    subjects = tuple(f"s{number:03d}" for number in range(_SUBJECTS))
    shapes = {
        Modality.IRIS: config.preprocess.iris_shape,
        Modality.FINGERPRINT: config.preprocess.fingerprint_shape,
    }
    spec = ModelSpec(
        shapes=shapes,
        identities=dict.fromkeys(shapes, _SUBJECTS),
        subjects=_SUBJECTS,
        width=config.training.width,
        embedding_dim=config.training.embedding_dim,
    )
    net = BiometricNet(spec).eval()
    version = preprocess_version(config)
    return Recogniser(spec, net, {}, {}, subjects, config.preprocess, version)


def _promote(config: Config, recogniser: Recogniser, folder: Path) -> None:
    saved = folder / runs.RECOGNISER
    recogniser.save(saved)
    with runs.run(config, name="bench", tags={}) as run:
        run.log_artifacts(saved, runs.RECOGNISER)
    version = register(config, run_id=run.run_id).version
    registry.set_champion(config, version, None)


def _one_by_one_in_one_thread(recogniser: Recogniser, files: Sequence[SourceFile]) -> None:
    with one_thread():
        _one_by_one(recogniser, files)


def _one_by_one(recogniser: Recogniser, files: Sequence[SourceFile]) -> None:
    for file in files:
        capture = parse(file.path)
        if capture is None:
            continue
        sample = recogniser.acquire(file.read(), capture.modality)
        vector = recogniser.embed(capture.modality, sample.image[None], sample.mask[None])
        present = np.array([[capture.modality is modality for modality in Modality]])
        recogniser.closed_set({capture.modality: vector}, present)
