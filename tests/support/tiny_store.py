"""A store with prepared captures of invented people, made in milliseconds: no images are read."""

import functools
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

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
) -> None:
    """Add captures: every identity has a pattern of its own, every impression its own noise."""
    store, captures, features = Store.of(config), [], []
    image_file = store.path("captures", "any.png")
    image_file.write_bytes(cv2.imencode(".png", np.zeros((40, 40), np.uint8))[1].tobytes())
    shapes = {
        Modality.IRIS: config.preprocess.iris_shape,
        Modality.FINGERPRINT: config.preprocess.fingerprint_shape,
    }
    for subject in range(subjects):
        for modality in modalities:
            position = "left" if modality is Modality.IRIS else "left_thumb"
            shape = shapes[modality]
            seed = (subject, list(Modality).index(modality))
            pattern = np.random.default_rng(seed).normal(128, 60, shape)
            for impression in impressions:
                rng = np.random.default_rng((*seed, impression))
                image = np.clip(pattern + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)
                name = f"{subject:03}{modality.value[0]}{impression}"
                captures.append(
                    {
                        "capture_id": name,
                        "subject_id": f"s{subject:03}",
                        "modality": modality.value,
                        "position": position,
                        "impression": impression,
                        "sensor": sensor,
                        "uri": "captures/any.png",
                        "captured_at": day,
                        **_measures(image),
                        "split": SPLITS[subject % len(SPLITS)],
                    }
                )
                features.append(
                    {
                        "capture_id": name,
                        "preprocess_version": preprocess_version(config),
                        "modality": modality.value,
                        "height": shape[0],
                        "width": shape[1],
                        "image": image.tobytes(),
                        "mask": np.full(shape, 255, np.uint8).tobytes(),
                        "quality": 0.5,
                    }
                )
    for table, rows in (("captures", captures), ("features", features)):
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
