"""Typed configuration: `config/base.yaml` < profile < environment < command line.

Every value is range-checked and an unknown key is refused. No value is ever evaluated as code.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from biometric_core.errors import ConfigError

ENV_PREFIX = "BIOMETRIC__"
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Fusion = Literal["concat", "attention", "weighted_sum"]
Channel = Literal["log", "email", "webhook"]
Bits = Annotated[int, Field(ge=8, le=16)]
Shape = tuple[Annotated[int, Field(ge=16, le=1024)], Annotated[int, Field(ge=16, le=1024)]]


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Storage(Section):
    """Where the tables, images and reports are: a local folder or s3://bucket/prefix."""

    root: str = "var/data"
    work: str = "var/work"  # caches and checkpoints where the root is an object store
    inbox: str = "var/inbox"  # one folder of new captures a day: <inbox>/2026-01-05
    retention_days: Annotated[int, Field(ge=0)] = 30
    report_days: Positive = 365


class Source(Section):
    """Where training captures come from when a run does not say."""

    kind: Literal["generator", "folder", "kaggle"] = "generator"
    path: str | None = None
    kaggle_dataset: str = "ninadmehendale/multimodal-iris-fingerprint-biometric-data"
    sensor: str = "default"  # what took captures that lie in no folder sensor=NAME
    bits: Bits | dict[str, Bits] | None = None  # that sensors fill in files of 16 which don't say
    namespace: str = "default"  # equal subject names in one namespace are one person


class Generator(Section):
    """The embedded source: generated people, no account needed."""

    subjects: Positive = 72
    impressions: Positive = 5
    fingers: Annotated[int, Field(ge=1, le=10)] = 2
    seed: int = 7


class Ingest(Section):
    """Limits on hostile input, and the gate on what a batch must hold."""

    max_file_bytes: Positive = 32 * 2**20
    max_pixels: Positive = 25_000_000
    min_side: Positive = 32
    max_members: Positive = 1_000_000
    max_total_bytes: Positive = 200 * 2**30
    max_compression_ratio: Positive = 200
    min_contrast: Annotated[float, Field(ge=0)] = 2.0
    max_refused_share: Fraction = 0.5
    max_duplicates_share: Fraction = 0.1
    min_subjects: Positive = 1


class Preprocess(Section):
    """Fixed-size, normalised images from captures."""

    executor: Literal["auto", "sequential", "multiprocessing", "ray"] = "auto"
    chunk_size: Positive = 128
    workers: Positive | None = None
    iris_shape: Shape = (64, 512)
    fingerprint_shape: Shape = (224, 224)


class Check(Section):
    """Gates on what the tables hold, before a model is trained; `null` switches one off."""

    min_subjects: Positive | None = 2
    min_impressions: Annotated[float, Field(ge=1)] | None = None
    max_refused_share: Fraction | None = 0.5
    max_failure_to_acquire: Fraction | None = 0.3
    max_duplicates_share: Fraction | None = 0.1


class Ray(Section):
    """The Ray cluster to join (`address`), or the bounds of one started here."""

    address: str | None = None
    num_cpus: Positive | None = None
    object_store_mb: Annotated[int, Field(ge=80)] = 256


class Splits(Section):
    """Shares of subjects; a subject keeps its split for ever. The rest trains."""

    validation: Fraction = 0.15
    test: Fraction = 0.35


class Training(Section):
    """The recogniser and how it is fitted."""

    epochs: Positive = 16
    batch_size: Positive = 64
    min_steps: Positive = 8  # an epoch repeats a small set until it has about this many steps
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 2
    patience: Positive = 6
    embedding_dim: Annotated[int, Field(ge=8, le=2048)] = 128
    width: Annotated[int, Field(ge=4, le=256)] = 32
    fusion: Fusion = "concat"
    head: Literal["arcface", "softmax"] = "arcface"
    margin: Annotated[float, Field(ge=0, lt=1.5)] = 0.3
    scale: Annotated[float, Field(gt=0)] = 24.0
    minutiae: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    pretrained: bool = True
    pretrained_rate: Annotated[float, Field(gt=0, le=1)] = 0.25
    impressions: Positive | None = None  # captures of a subject that come together in a step
    shuffle_rows: Positive | None = None  # shuffled among so many neighbours: reads stay local
    accumulate: Positive = 1  # micro-steps that a step is computed in, to need less memory
    compile: bool = False  # of the branches, by torch.compile
    workers: Positive = 1
    threads: Positive | None = None
    seed: int = 17
    min_subjects: Positive = 4


class Pretraining(Section):
    """How `biometric pretrain` makes the branches that ship with the package."""

    subjects: Annotated[int, Field(ge=8)] = 1200
    impressions: Annotated[int, Field(ge=2)] = 6
    seed: Annotated[int, Field(ge=0)] = 90001
    epochs: Positive = 14
    batch_size: Positive = 128
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 4e-3


class Evaluation(Section):
    """Honest figures on subjects that were never trained on."""

    bootstrap: Annotated[int, Field(ge=10)] = 500
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    chimeric_draws: Positive = 20  # random pairings of subjects of different sources
    seed: int = 29
    failure_images: bool = False


class Release(Section):
    """What a model must reach before it may be champion; `null` switches a threshold off."""

    max_eer_iris: Fraction | None = 0.15
    max_eer_fingerprint: Fraction | None = 0.35
    max_eer_fused: Fraction | None = 0.10
    max_latency_ms: Annotated[float, Field(gt=0)] | None = 500.0


class Gate(Section):
    """When a challenger may replace the champion."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    min_improvement: Annotated[float, Field(ge=0)] = 0.01
    min_improvement_share: Fraction = 0.1
    margin_cllr: Annotated[float, Field(ge=0)] = 0.1
    margin: Annotated[float, Field(ge=0, le=1)] = 0.02
    min_subjects: Positive = 5
    seed: int = 31


class Monitoring(Section):
    """The daily drift verdict."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    suspect_alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    confirmation: Literal["either", "at_once", "two_of_three"] = "either"
    cooldown_days: Annotated[int, Field(ge=0)] = 7
    trend_days: Annotated[int, Field(ge=1, le=60)] = 14
    trend_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    permutations: Annotated[int, Field(ge=99)] = 1999
    min_subjects: Positive = 8
    seed: int = 41
    max_report_rows: Positive = 300
    example_images: bool = False


class Retraining(Section):
    """When a drift alarm leads to a new model."""

    cooldown_days: Annotated[int, Field(ge=0)] = 1
    min_new_captures: Annotated[int, Field(ge=0)] = 20
    new_weight: Annotated[float, Field(gt=0, le=100)] = 1.0


class MLflow(Section):
    """Runs and the registry."""

    tracking_uri: str = "sqlite:///var/mlflow/mlflow.db"
    artifact_root: str | None = "var/mlflow/artifacts"
    experiment: str = "biometric"
    model_name: str = "biometric-recogniser"


Hours = Annotated[float, Field(gt=0)]


class Schedules(Section):
    """When the DAGs run; `null` means only by hand or by asset, or no deadline."""

    training: str | None = "0 3 * * 1"
    monitoring: str | None = "0 0 * * *"
    maintenance: str | None = "0 5 * * 0"
    start_date: date = date(2026, 1, 1)
    retries: Annotated[int, Field(ge=0)] = 2
    retry_delay_seconds: Positive = 60
    monitoring_deadline_hours: Hours | None = 6.0  # after the end of the run's data interval
    training_deadline_hours: Hours | None = 24.0  # after queueing; retraining as well
    approval_hours: Hours = 48.0  # a person's time to answer; then it is a Reject


class Notifications(Section):
    """Who is told what: the channels of each kind of notice, and where they lead.

    Addresses and secrets are in Airflow Connections; here are only their ids.
    """

    alarm: tuple[Channel, ...] = ("log",)
    decision: tuple[Channel, ...] = ("log",)
    failure: tuple[Channel, ...] = ("log",)
    deadline: tuple[Channel, ...] = ("log",)
    smtp_connection: str = "smtp_default"
    to: tuple[str, ...] = ()
    webhook_connection: str = "biometric_webhook"

    @model_validator(mode="after")
    def _mail_has_a_receiver(self) -> "Notifications":
        used = {*self.alarm, *self.decision, *self.failure, *self.deadline}
        if "email" in used and not self.to:
            raise ValueError("email is a channel, but notifications.to names nobody")
        return self


class Config(BaseSettings):
    """The whole configuration, resolved."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )
    _files: ClassVar[tuple[Path, ...]] = ()

    storage: Storage = Storage()
    source: Source = Source()
    generator: Generator = Generator()
    ingest: Ingest = Ingest()
    preprocess: Preprocess = Preprocess()
    check: Check = Check()
    ray: Ray = Ray()
    splits: Splits = Splits()
    training: Training = Training()
    pretraining: Pretraining = Pretraining()
    evaluation: Evaluation = Evaluation()
    release: Release = Release()
    gate: Gate = Gate()
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    mlflow: MLflow = MLflow()
    schedules: Schedules = Schedules()
    notifications: Notifications = Notifications()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence, strongest first: arguments, environment, profile, base."""
        del dotenv_settings, file_secret_settings
        files = [YamlConfigSettingsSource(settings_cls, path) for path in reversed(cls._files)]
        return (init_settings, env_settings, *files)

    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of the resolved configuration."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_dir() -> Path:
    """The folder of the YAML files: `BIOMETRIC_CONFIG_DIR`, or `config/` beside the package."""
    return Path(os.environ.get("BIOMETRIC_CONFIG_DIR") or Path(__file__).parents[1] / "config")


def load_config(profile: str | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Resolve the configuration.

    Args:
        profile: name of a file in the config folder; `BIOMETRIC_PROFILE` when None, else only base.
        overrides: nested values that win over everything, `{"training": {"epochs": 3}}`.

    Raises:
        ConfigError: unknown profile, unknown key, or a value out of range; names key and value.
    """
    name = profile or os.environ.get("BIOMETRIC_PROFILE")
    files = [config_dir() / f"{part}.yaml" for part in ("base", name) if part]
    for path in files:
        if not path.is_file():
            raise ConfigError(
                f"no configuration file {path}: set BIOMETRIC_CONFIG_DIR or --profile"
            )
    known = {f"{ENV_PREFIX}{field}".upper() for field in Config.model_fields}
    for key in os.environ:
        if (
            key.upper().startswith(ENV_PREFIX)
            and "__".join(key.upper().split("__")[:2]) not in known
        ):
            raise ConfigError(f"unknown setting in the environment: {key}; see config/base.yaml")
    resolver = type("Config", (Config,), {"_files": tuple(files), "__module__": __name__})
    try:
        resolved = resolver(**(overrides or {}))
        return Config.model_validate(resolved.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"configuration {where}: {first['msg']} (got {first.get('input')!r}); see {files[0]}"
        ) from error
