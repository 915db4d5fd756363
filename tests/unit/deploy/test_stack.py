from pathlib import Path

import pytest

from deploy.local.places import Layout
from deploy.local.stack import Stack, StackError


@pytest.mark.parametrize("name", ["100%", "a%20b", "x:y"])
def test_a_folder_that_airflow_cannot_read_is_refused_before_anything_starts(
    name: str, tmp_path: Path
) -> None:
    stack = Stack(Layout(tmp_path / name / "var"))
    with pytest.raises(StackError, match="rename what holds"):
        stack.begin()
    assert stack.processes == []
