"""What can be set, section by section: types, ranges and defaults.

`config/base.yaml` has the same with its explanations; a test compares them.
"""

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from biometric_core.config.values import (
    Addresses,
    Channels,
    Cron,
    Day,
    Days,
    Fraction,
    Fusion,
    Hours,
    Place,
    Places,
    Positive,
    SensorBits,
    Shape,
    Text,
)

UNRECORDED = {"notifications"}
"""Sections that no run, digest or report holds: they name people, and decide no result."""


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Storage(Section):
    """Where the tables, images and reports are: a local folder or s3://bucket/prefix."""

    root: Place = "var/data"
    work: Place = "var/work"  # caches and checkpoints where the root is an object store
    inbox: Place = "var/inbox"  # one folder of new captures a day: <inbox>/2026-01-05
    retention_days: Days = 30
    report_days: Annotated[Days, Field(ge=1)] = 365


class Source(Section):
    """Where training captures come from when a run does not say."""

    kind: Literal["generator", "folder", "kaggle"] = "generator"
    path: Annotated[Place | None, Field(examples=["path/to/folder"])] = None
    allowed: Places | None = None  # of a DAG's params
    kaggle_dataset: Text = "ninadmehendale/multimodal-iris-fingerprint-biometric-data"
    sensor: Text = "default"  # what took captures that lie in no folder sensor=NAME
    # That sensors fill in files of 16 which don't say.
    bits: Annotated[SensorBits | None, Field(examples=["12", "{door-3: 12}"])] = None
    # Equal subject names in one namespace are one person; None: by layout and kind of the source.
    namespace: Text | None = None


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
    workers: Annotated[Positive | None, Field(examples=[4])] = None
    iris_shape: Shape = (64, 512)
    fingerprint_shape: Shape = (224, 224)


class Check(Section):
    """Gates on what the tables hold, before a model is trained; `null` switches one off."""

    min_subjects: Positive | None = 2
    min_impressions: Annotated[Annotated[float, Field(ge=1)] | None, Field(examples=[3])] = None
    max_refused_share: Fraction | None = 0.5
    max_failure_to_acquire: Fraction | None = 0.3
    max_duplicates_share: Fraction | None = 0.1
    window_days: Annotated[Positive | None, Field(examples=[28])] = None  # of the shares


class Ray(Section):
    """The Ray cluster to join (`address`), or the bounds of one started here."""

    address: Annotated[Text | None, Field(examples=["10.0.0.1:6379"])] = None
    num_cpus: Annotated[Positive | None, Field(examples=[4])] = None
    object_store_mb: Annotated[int, Field(ge=80)] = 256


class Splits(Section):
    """Shares of subjects; a subject keeps its split for ever. The rest trains."""

    validation: Fraction = 0.15
    test: Fraction = 0.35

    @model_validator(mode="after")
    def _at_most_all(self) -> "Splits":
        if self.validation + self.test > 1:
            raise ValueError("validation and test are more than 1 together: write shares of it")
        return self


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
    # Captures of a subject that come together in a step.
    impressions: Annotated[Positive | None, Field(examples=[2])] = None
    # Shuffled among so many neighbours: reads stay local.
    shuffle_rows: Annotated[Positive | None, Field(examples=[100_000])] = None
    accumulate: Positive = 1  # micro-steps that a step is computed in, to need less memory
    compile: bool = False  # of the branches, by torch.compile
    workers: Positive = 1
    threads: Annotated[Positive | None, Field(examples=[4])] = None
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
    # Whether a person is asked before the gate, where a run doesn't say.
    approval: Literal["never", "drift", "always"] = "never"


class Monitoring(Section):
    """The daily drift verdict."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    suspect_alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    confirmation: Literal["either", "at_once", "two_of_three"] = "either"
    cooldown_days: Days = 7
    late_days: Annotated[int, Field(ge=0, le=60)] = 7  # 0: what was judged is never looked at again
    trend_days: Annotated[int, Field(ge=1, le=60)] = 14
    trend_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    permutations: Annotated[int, Field(ge=99)] = 1999
    min_subjects: Positive = 8
    seed: int = 41
    max_report_rows: Positive = 300
    example_images: bool = False


class Retraining(Section):
    """When a drift alarm leads to a new model."""

    cooldown_days: Days = 1
    min_new_captures: Annotated[int, Field(ge=0)] = 10
    new_weight: Annotated[float, Field(gt=0, le=100)] = 1.0


class MLflow(Section):
    """Runs and the registry."""

    tracking_uri: Text = "sqlite:///var/mlflow/mlflow.db"
    artifact_root: Place | None = "var/mlflow/artifacts"
    experiment: Text = "biometric"
    model_name: Text = "biometric-recogniser"


class Schedules(Section):
    """When the DAGs run; `null` means only by hand or by asset, or no deadline."""

    training: Cron | None = "0 3 * * 1"
    monitoring: Cron | None = "0 0 * * *"
    maintenance: Cron | None = "0 5 * * 0"
    start_date: Day = date(2026, 1, 1)
    retries: Annotated[int, Field(ge=0, le=1000)] = 2
    retry_delay_seconds: Annotated[int, Field(ge=1, le=7 * 86400)] = 60
    monitoring_deadline_hours: Hours | None = 6.0  # after the end of the run's data interval
    training_deadline_hours: Hours | None = 24.0  # after queueing; retraining as well
    approval_hours: Hours = 48.0  # a person's time to answer; then it is a Reject


class Notifications(Section):
    """Who is told what: the channels of each kind of notice, and where they lead.

    Addresses and secrets are in Airflow Connections; here are only their ids.
    """

    alarm: Channels = ("log",)
    decision: Channels = ("log",)
    failure: Channels = ("log",)
    deadline: Channels = ("log",)
    smtp_connection: Text = "smtp_default"
    to: Annotated[Addresses, Field(examples=[("a@example.org", "b@example.org")])] = ()
    webhook_connection: Text = "biometric_webhook"

    @model_validator(mode="after")
    def _mail_has_a_receiver(self) -> "Notifications":
        used = {*self.alarm, *self.decision, *self.failure, *self.deadline}
        if "email" in used and not self.to:
            raise ValueError("email is a channel, but notifications.to names nobody")
        return self


class Config(Section):
    """The whole configuration, resolved."""

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

    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of what decides a result: all but `notifications`."""
        text = json.dumps(self.model_dump(mode="json", exclude=UNRECORDED), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
