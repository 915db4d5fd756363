"""The command `airflow`, with everything imported that tasks will want.

Scheduler and Celery worker fork for each task, so that a task finds there what they have imported.
Else each of them would import torch, MLflow and Evidently anew: 10 s of a small machine.
"""

import importlib
import sys
import warnings

# Of the libraries what is imported late, when it is first used, is named as well.
MODULES = (
    "airflow.sdk.execution_time.task_runner",
    "biometric_core.monitoring.report.writing",
    "biometric_core.promotion.ruling",
    "biometric_core.stages.evaluate",
    "biometric_core.stages.monitor",
    "biometric_core.stages.plan_retraining",
    "biometric_core.stages.register",
    "biometric_core.training.assembly",
    "biometric_core.training.fit",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "ray",
    "sklearn.covariance",
    "sklearn.manifold",
    "torch._dynamo",  # by the first step of an optimiser
)


def main() -> None:
    """Import, then be `airflow`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MODULES:
            importlib.import_module(name)

    from airflow.__main__ import main as airflow

    sys.argv[0] = "airflow"
    airflow()


if __name__ == "__main__":
    main()
