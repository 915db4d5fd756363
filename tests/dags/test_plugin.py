"""Links to the other pages in Airflow's navigation."""

import importlib

import pytest


@pytest.mark.parametrize("known", [(), ("BIOMETRIC_REPORTS_UI",), ("BIOMETRIC_MLFLOW_UI",)])
def test_only_pages_that_are_served_are_linked(monkeypatch, known: tuple[str, ...]) -> None:
    monkeypatch.syspath_prepend("plugins")
    for name in ("BIOMETRIC_REPORTS_UI", "BIOMETRIC_MLFLOW_UI"):
        monkeypatch.delenv(name, raising=False)
    for name in known:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    plugin = importlib.reload(importlib.import_module("biometric_plugin"))
    linked = [view["name"] for view in plugin.BiometricPlugin.external_views]
    names = {"BIOMETRIC_REPORTS_UI": "Drift reports", "BIOMETRIC_MLFLOW_UI": "MLflow"}
    assert linked == [names[name] for name in known]
