"""What the stack of a test module has been told, and its first champion."""

import json
from typing import Any

import pytest

from deploy.local.airflow_api import DagRun
from deploy.local.stack import Stack
from deploy.story.seed import STORY_FILE
from tests.system.live import TRAINING_ENDS, follow


@pytest.fixture(scope="module")
def story(stack: Stack) -> dict[str, Any]:
    """Where the history lies, and the days."""
    told: dict[str, Any] = json.loads((stack.layout.source / STORY_FILE).read_text())
    return told


@pytest.fixture(scope="module")
def champion(stack: Stack, story: dict[str, Any]) -> DagRun:
    """The run that trained the first model."""
    return follow(stack, "biometric_training", {"source": story["history"], "as_of": TRAINING_ENDS})
