"""Typed configuration: `config/base.yaml` < profile < environment < command line.

Every value is range-checked and an unknown key is refused. No value is ever evaluated as code.
"""

from biometric_core.config.loading import config_dir, load_config
from biometric_core.config.sections import (
    UNRECORDED,
    Check,
    Config,
    Evaluation,
    Gate,
    Generator,
    Ingest,
    MLflow,
    Monitoring,
    Notifications,
    Preprocess,
    Ray,
    Release,
    Schedules,
    Source,
    Splits,
    Storage,
)
from biometric_core.config.values import Fusion, Positive, Shape

__all__ = [
    "UNRECORDED",
    "Check",
    "Config",
    "Evaluation",
    "Fusion",
    "Gate",
    "Generator",
    "Ingest",
    "MLflow",
    "Monitoring",
    "Notifications",
    "Positive",
    "Preprocess",
    "Ray",
    "Release",
    "Schedules",
    "Shape",
    "Source",
    "Splits",
    "Storage",
    "config_dir",
    "load_config",
]
