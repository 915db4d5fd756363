"""A task calls one stage of the core; what is heavy is imported then, never at parse time."""

import logging
import time
from dataclasses import asdict
from importlib import import_module
from typing import Any

_log = logging.getLogger(__name__)


def run_stage(name: str, **arguments: Any) -> dict[str, Any]:
    """Call a stage with the resolved configuration.

    Args:
        name: of the stage: file and function in `biometric_core.stages`.
        arguments: the stage's keyword arguments.

    Returns:
        The stage's result as a dict, fit for XCom.
    """
    from biometric_core.config import load_config

    stage = getattr(import_module(f"biometric_core.stages.{name}"), name)
    start = time.monotonic()
    result = asdict(stage(load_config(), **arguments))
    _log.info("stage %s: %.1f s", name, time.monotonic() - start)
    return result
