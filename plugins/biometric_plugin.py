"""What Airflow's UI gains: a way to MLflow, where it is known."""

import os
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


def _views() -> list[dict[str, Any]]:
    address = os.environ.get("BIOMETRIC_MLFLOW_UI")
    if not address:
        return []
    return [{"name": "MLflow", "href": address, "destination": "nav", "category": "browse"}]


class BiometricPlugin(AirflowPlugin):
    """A link to runs and models in the navigation (`BIOMETRIC_MLFLOW_UI` holds the address)."""

    name = "biometric"
    external_views: ClassVar[list[dict[str, Any]]] = _views()
