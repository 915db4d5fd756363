"""What a mistake in the settings does to Airflow: the DAGs stay, and say what is wrong."""

import os

import pytest

IDS = {"biometric_training", "biometric_monitoring", "biometric_retraining"}
IDS |= {"biometric_rollback", "biometric_maintenance"}
MISTAKES = {
    "BIOMETRIC__NOTIFICATIONS__TO": "nobody",
    "BIOMETRIC__NOTIFICATIONS__ALARM": "[log",
    "BIOMETRIC__TRAINING__EPOCHS": "many",
    "BIOMETRIC__SCHEDULES__TRAINING": "every monday",
    "BIOMETRIC__SCHEDULES__APPROVAL_HOURS": "1e300",
    "BIOMETRIC_STORAGE__ROOT": "w",
}


@pytest.mark.parametrize(("name", "text"), MISTAKES.items(), ids=MISTAKES)
def test_dags_parse_and_say_what_is_wrong(monkeypatch, database, name, text):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv(name, text)
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    assert bag.import_errors == {}
    assert set(bag.dags) == IDS
    for dag in bag.dags.values():
        assert f"{name}: " in dag.doc_md, dag.dag_id
        assert "the configuration can't be read" in dag.tags


def test_a_task_fails_with_the_one_line(monkeypatch, run_dag):
    from biometric_airflow.stages import run_stage

    from biometric_core.errors import ConfigError

    monkeypatch.setenv("BIOMETRIC__NOTIFICATIONS__TO", "nobody")
    assert run_dag("biometric_maintenance")["maintain"] == "failed"
    with pytest.raises(ConfigError, match=r"^BIOMETRIC__NOTIFICATIONS__TO: notifications\.to: .*"):
        run_stage("maintain")


@pytest.mark.parametrize(
    ("param", "text", "said"),
    [
        ("as_of", "today", "write a time as 2026-01-31"),
        ("as_of", "0001-01-01T00:00:00Z", "1970 to 2100"),
        ("day", "2026-02-30", "doesn't exist"),
        ("day", "2207-01-01", "1970 to 2100"),
    ],
)
def test_times_of_params_are_refused_with_the_form(param, text, said):
    from airflow.sdk.exceptions import AirflowFailException
    from biometric_airflow.intervals import monitored_day, training_as_of

    read = {"as_of": training_as_of, "day": monitored_day}[param]
    with pytest.raises(AirflowFailException, match=f"param {param}: .*{said}"):
        read({"params": {param: text}})


def test_an_offset_of_a_param_is_converted():
    from biometric_airflow.intervals import training_as_of

    told = training_as_of({"params": {"as_of": "2027-01-06T02:00:00+05:30"}})
    assert told == "2027-01-05T20:30:00+00:00"
