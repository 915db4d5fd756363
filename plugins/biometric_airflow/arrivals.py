"""What comes into the folders of the inbox: on its day, or late."""

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from biometric_airflow.channels import tell
from biometric_airflow.notices import unreadable_notice
from biometric_airflow.stages import run_stage

_log = logging.getLogger(__name__)


def take_in(folder: Path, day: date) -> dict[str, Any] | None:
    """Take a day's folder in; None where there is none, or no capture in it.

    Args:
        folder: of the inbox.
        day: when its captures were taken.

    Raises:
        DataError: too much of it was refused.
    """
    from biometric_core.errors import EmptySourceError

    if not folder.is_dir():
        return None
    at = datetime.combine(day, time(), tzinfo=UTC)
    try:
        return run_stage("ingest", source=str(folder), captured_at=at, kind="inbox")
    except EmptySourceError:
        return None


def take_late(inbox: Path, day: date, late_days: int, context: Mapping[str, Any]) -> dict[str, int]:
    """Take in what came late; a folder that can't be must not blind the days after, and is told.

    Args:
        inbox: the folder of the days' folders.
        day: of the run.
        late_days: so many days before it are looked at.
        context: of the task.

    Returns:
        New captures by day, of the days that have any captures in the inbox, oldest first.
    """
    from biometric_core.errors import DataError, SourceError

    found = {}
    for back in range(late_days, 0, -1):
        late = day - timedelta(days=back)
        folder = inbox / late.isoformat()
        try:
            taken = take_in(folder, late)
        except (DataError, SourceError) as error:
            tell(unreadable_notice(late, folder, str(error)), context)
            continue
        if taken is not None:
            found[late.isoformat()] = taken["added"]
            if taken["added"]:
                _log.warning("%s: %d captures came late", late, taken["added"])
    return found
