"""Weekly, or by hand: keep the tables small and quick to read, and remove what is old."""

from typing import Any

from airflow.sdk import dag, task
from biometric_airflow.stages import run_stage
from biometric_airflow.wiring import HEAVY, cron, dag_defaults, parse_config

CONFIG = parse_config()


@task(**HEAVY)
def maintain() -> dict[str, Any]:
    """Compact, forget and remove; the result says how much."""
    return run_stage("maintain")


@dag(
    dag_id="biometric_maintenance",
    schedule=cron(CONFIG.schedules.maintenance),
    description="Compact tables, forget old versions that no model names, remove old reports",
    doc_md=CONFIG.doc("""
### Keep the tables small

Puts small files of the Delta tables together and removes what is older than
`storage.retention_days`, but keeps every version that a registered model or a training run names:
`biometric train --like RUN` goes on working for them. Caches and checkpoints that nobody has used
for so long go as well, and reports older than `storage.report_days`. Images and rows never go.
"""),
    **dag_defaults(CONFIG),
)
def biometric_maintenance() -> None:
    """Wire the stage."""
    maintain()


biometric_maintenance()
