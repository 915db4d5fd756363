"""A store with prepared captures of invented people, made in milliseconds: no images are read."""

import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from biometric_core.config import Config, MLflow
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import TABLES, Modality
from biometric_core.storage.store import Store
from biometric_core.tracking.client import mlflow_client

HISTORY = datetime(2026, 1, 1, tzinfo=UTC)
SPLITS = ("train", "train", "validation", "test")


def small(config: Config) -> Config:
    """The same configuration with tiny images, and a database: training takes a second."""
    database(Path(config.mlflow.tracking_uri.removeprefix("sqlite:///")).parent)
    return tiny(config)


def tiny(config: Config) -> Config:
    """The same configuration with tiny images and networks."""
    return changed(
        changed(config, "preprocess", iris_shape=(16, 32), fingerprint_shape=(16, 16)),
        "training",
        **{"min_steps": 1, "batch_size": 64, "width": 4, "embedding_dim": 8, "precision": "fp32"},
    )


def changed(config: Config, section: str, **values: object) -> Config:
    """The configuration with other values in one section."""
    dump = config.model_dump()
    return Config.model_validate({**dump, section: {**dump[section], **values}})


def database(folder: Path) -> str:
    """The address of an MLflow database without rows; migrating one takes seconds, a copy none."""
    return f"sqlite:///{shutil.copy(_database(), folder / 'mlflow.db')}"


@functools.cache
def _database() -> Path:
    path = Path(tempfile.mkdtemp(prefix="biometric-test-")) / "mlflow.db"
    empty = Config(mlflow=MLflow(tracking_uri=f"sqlite:///{path}", artifact_root=None))
    with mlflow_client(empty, "make a database") as client:
        client.get_experiment_by_name("none")
    return path


def fill(
    config: Config,
    *,
    subjects: int = 16,
    impressions: range = range(1, 5),
    day: datetime = HISTORY,
    sensor: str = "default",
    noise: float = 25.0,
    modalities: tuple[Modality, ...] = tuple(Modality),
    source: str = "inbox",
    first: int = 0,
) -> None:
    """Add captures: every identity has a pattern of its own, every impression its own noise."""
    store, captures, features = Store.of(config), [], []
    image_file = store.path("captures", "any.png")
    image_file.write_bytes(cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes())
    for subject, modality in itertools.product(range(first, subjects), modalities):
        images = _images(config, subject, modality, impressions, noise)
        for impression, image in zip(impressions, images, strict=True):
            capture = _capture(subject, modality, impression, image)
            record = {"sensor": sensor, "captured_at": day, "source": source}
            captures.append(capture | record)
            features.append(_feature(capture, image, preprocess_version(config)))
    _append(store, "captures", captures)
    _append(store, "features", features)


def impostor(config: Config, *, claims: int, is_really: int, impression: int, day: datetime) -> str:
    """Add an eye of one subject under the name of another; returns its capture id."""
    (image,) = _images(config, is_really, Modality.IRIS, range(impression, impression + 1), 25.0)
    capture = _capture(claims, Modality.IRIS, impression, image)
    record = {"sensor": "default", "captured_at": day, "source": "inbox"}
    _append(Store.of(config), "captures", [capture | record])
    _append(Store.of(config), "features", [_feature(capture, image, preprocess_version(config))])
    return str(capture["capture_id"])


def _images(
    config: Config, subject: int, modality: Modality, impressions: range, noise: float
) -> Iterator[np.ndarray]:
    iris = modality is Modality.IRIS
    shape = config.preprocess.iris_shape if iris else config.preprocess.fingerprint_shape
    seed = (subject, list(Modality).index(modality))
    pattern = np.random.default_rng(seed).normal(128, 60, shape)
    for impression in impressions:
        rng = np.random.default_rng((*seed, impression))
        yield np.clip(pattern + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)


def _capture(
    subject: int, modality: Modality, impression: int, image: np.ndarray
) -> dict[str, Any]:
    """A row of `captures`, but for its sensor and its time."""
    return {
        "capture_id": f"{subject:03}{modality.value[0]}{impression}",
        "subject_id": f"s{subject:03}",
        "modality": modality.value,
        "position": "left" if modality is Modality.IRIS else "left_thumb",
        "impression": impression,
        "uri": "captures/any.png",
        **_measures(image),
        "split": SPLITS[subject % len(SPLITS)],
    }


def _feature(capture: dict[str, Any], image: np.ndarray, version: str) -> dict[str, Any]:
    """The row of `features` of a capture."""
    return {
        "capture_id": capture["capture_id"],
        "preprocess_version": version,
        "modality": capture["modality"],
        "height": image.shape[0],
        "width": image.shape[1],
        "image": image.tobytes(),
        "mask": np.full(image.shape, 255, np.uint8).tobytes(),
        "quality": 0.5,
    }


def _append(store: Store, table: str, rows: list[dict[str, Any]]) -> None:
    columns = {
        field.name: pa.array([row.get(field.name) for row in rows], field.type)
        for field in TABLES[table]
    }
    store.append_new(table, pa.table(columns, schema=TABLES[table]))


def _measures(image: np.ndarray) -> dict[str, float]:
    return {
        "sharpness": float(cv2.Laplacian(image, cv2.CV_64F).var() / max(image.var(), 1e-6)),
        "contrast": float(image.std()),
        "brightness": float(image.mean()),
    }
