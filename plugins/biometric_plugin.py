"""What Airflow gains: a kind of deadline, and in its UI ways to MLflow and the drift reports."""

import os
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from biometric_airflow.deadlines import IntervalEnd

_PAGES = {"MLflow": "BIOMETRIC_MLFLOW_UI", "Drift reports": "BIOMETRIC_REPORTS_UI"}


def _views() -> list[dict[str, Any]]:
    return [
        {"name": name, "href": address, "destination": "nav", "category": "browse"}
        for name, variable in _PAGES.items()
        if (address := os.environ.get(variable))
    ]


class BiometricPlugin(AirflowPlugin):
    """Links in the navigation (`BIOMETRIC_MLFLOW_UI`, `BIOMETRIC_REPORTS_UI`: the addresses).

    Deadlines that count from the end of a data interval are registered here.
    """

    name = "biometric"
    deadline_references: ClassVar[list[type]] = [IntervalEnd]
    external_views: ClassVar[list[dict[str, Any]]] = _views()
