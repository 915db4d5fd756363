"""What people are told: failures, what is late or missing, drift alarms, decisions.

Every notice is one that a person can act on: what happened, where, and what to do.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseNotifier

from biometric_airflow.channels import Notice, tell
from biometric_core.errors import ConfigError

_LONGEST_REASON = 500


class FailureNotice(BaseNotifier):
    """Tell which task or run failed, why, and where to look."""

    template_fields = ()

    def notify(self, context: Any) -> None:
        """Tell it; runs in the worker for a task, in the DAG processor for a run.

        Args:
            context: the context Airflow hands to callbacks.
        """
        run = context.get("dag_run")
        instance = context.get("task_instance") or context.get("ti")
        what = f"task {instance.task_id}" if instance else "the run"
        dag_id, run_id = (run.dag_id, run.run_id) if run else ("a DAG", "unknown")
        why = context.get("exception") or context.get("reason") or "see its log"
        reason = " ".join(str(why).split())[:_LONGEST_REASON]
        facts = {"dag": dag_id, "run": run_id, "task": instance.task_id if instance else None}
        notice = Notice(
            "failure",
            f"{what} of {dag_id} failed",
            f"{reason} (run {run_id}). Open the run in Airflow, read the task's log, mend the "
            "cause and clear the task: every stage can be repeated.",
            {**facts, "reason": reason, "link": _link(dag_id, run_id)},
        )
        tell(notice, context)


class DeadlineNotice(BaseNotifier):
    """Tell that a run was not done in time; the executor runs it, no triggerer is needed."""

    template_fields = ()

    def notify(self, context: Any) -> None:
        """Tell it.

        Args:
            context: `dag_run` and `deadline` as dicts, from the scheduler.
        """
        run, deadline = context["dag_run"], context["deadline"]
        dag_id, run_id = run["dag_id"], run["dag_run_id"]
        due = str(deadline["deadline_time"])
        waiting = (
            " It may be waiting for a person's approval (task approve)."
            if _may_wait(dag_id, (run.get("conf") or {}).get("approval"))
            else ""
        )
        notice = Notice(
            "deadline",
            f"{dag_id} is late",
            f"The run {run_id} should have been done by {due} and is {run['state']}.{waiting} "
            "Open it in Airflow: is a task failing, waiting for a slot of its pool, or slower than "
            "it was?",
            {
                "dag": dag_id,
                "run": run_id,
                "state": run["state"],
                "due": due,
                "link": _link(dag_id, run_id),
            },
        )
        tell(notice, context)


def _may_wait(dag_id: str, given: bool | None) -> bool:
    """Whether a run of a DAG may be waiting for a person."""
    from biometric_airflow.approval import is_asked
    from biometric_core.config import load_config

    try:
        setting = load_config().gate.approval
    except ConfigError:  # then the tasks say so
        setting = "never"
    return is_asked(given, setting, drift=dag_id == "biometric_retraining")


def drift_notice(facts: Mapping[str, Any], before: str | None = None) -> Notice:
    """The notice of a confirmed drift alarm.

    Args:
        facts: what the asset event carries: day, verdict, p_value, reason, report, model_version.
        before: the verdict on the day that this one replaced.
    """
    again = f" The day was judged again with all its captures; it was {before}." if before else ""
    p_value = facts["p_value"]
    shown = "" if p_value is None else f" (p = {p_value:.2g})"
    return Notice(
        "alarm",
        f"drift alarm of {facts['day']}",
        f"{facts['reason']}{shown}.{again} Seen by version {facts['model_version']}; report: "
        f"{facts['report']} under the storage root. biometric_retraining is woken now: it decides "
        "from the tables whether to train a challenger, and the gate decides whether that becomes "
        "champion. What to do meanwhile: docs/operations.md, An alarm in the morning.",
        dict(facts),
    )


def late_notice(judged: Mapping[str, Any]) -> Notice | None:
    """The notice that a day has another verdict than before; None for an alarm and for no news.

    Args:
        judged: day, verdict, before, alarm, p_value, reason and report of a day.
    """
    day, before, verdict = judged["day"], judged["before"], judged["verdict"]
    names = ("day", "before", "verdict", "p_value", "reason", "report")
    facts = {name: judged[name] for name in names}
    if verdict is None:
        return Notice(
            "failure",
            f"{day} can't be judged again",
            f"Captures of {day} came late, and the day can't be judged by them: "
            f"{judged['reason']}. Its verdict stays {before or 'open'}.",
            facts,
        )
    if before in (None, verdict) or judged["alarm"]:
        return None
    return Notice(
        "alarm",
        f"the verdict on {day} is {verdict}, it was {before}",
        f"The day was judged again, with all its captures: {judged['reason']}. Report: "
        f"{judged['report']} under the storage root; both verdicts are in the drift table.",
        facts,
    )


def missing_notice(day: date, folder: Path, late_days: int, context: Mapping[str, Any]) -> Notice:
    """The notice that no folder of a day had come when its run looked for it.

    Args:
        day: the day.
        folder: of the inbox, where its captures should be.
        late_days: `monitoring.late_days`.
        context: of the run.
    """
    then = (
        f"If it comes within {late_days} days, the next run takes it in and judges the day."
        if late_days
        else "monitoring.late_days is 0: if it comes, run the day by hand."
    )
    run = context["dag_run"]
    return Notice(
        "deadline",
        f"no captures of {day} have come",
        f"There is no folder {folder}, so the day has no verdict. {then} Ask whoever delivers it; "
        "where nobody came on that day, an empty folder says so, and nobody is told.",
        {
            "day": day.isoformat(),
            "folder": str(folder),
            "run": run.run_id,
            "link": _link(run.dag_id, run.run_id),
        },
    )


def unreadable_notice(day: date, folder: Path, reason: str) -> Notice:
    """The notice that a folder of an earlier day can't be taken in.

    Args:
        day: the earlier day.
        folder: of the inbox.
        reason: why.
    """
    return Notice(
        "failure",
        f"the captures of {day} can't be taken in",
        f"{' '.join(reason.split())[:_LONGEST_REASON]} (folder {folder}). The run goes on with its "
        "own day. Mend the folder: the next run takes it in, as long as the day is one of "
        "monitoring.late_days.",
        {"day": day.isoformat(), "folder": str(folder)},
    )


def decision_notice(decided: Mapping[str, Any]) -> Notice:
    """The notice of a decision: promoted, rejected or rolled back.

    Args:
        decided: a `decisions.Decision` as a dict.
    """
    from biometric_core.history.decisions import CHAMPION_NOW

    version, before = decided["challenger_version"], decided["champion_version"]
    stays = decided["numbers"].get(CHAMPION_NOW, before)
    what = str(decided["decision"]).replace("_", " ")
    now = {
        "promoted": f"Version {version} is champion now, it was {before or 'none'}.",
        "rolled_back": f"Version {version} is champion again, it was {before}.",
    }.get(decided["decision"], f"Version {stays or 'none'} stays champion.")
    names = ("decision", "trigger", "drift_day", "decision_id", "decided_at", "reason")
    facts = {name: decided[name] for name in names}
    title = f"version {version} {what}" if what != "rolled back" else f"{what} to {version}"
    return Notice(
        "decision",
        title,
        f"{now} Reason: {decided['reason']}. All numbers: the decisions table.",
        {**facts, "champion_version": before, "challenger_version": version},
    )


def _link(dag_id: str, run_id: str) -> str | None:
    """The run's page in Airflow; None where its address is not configured."""
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback=None)
    return f"{base.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id)}" if base else None
