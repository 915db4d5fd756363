"""What a file can be refused for, and what the documentation says of it."""

import re
from pathlib import Path

import biometric_core
from biometric_core.data.intake import CLUTTER, DUPLICATE
from biometric_core.serving.batch import NOT_IN_MODEL, UNKNOWN_MODALITY

PACKAGE = Path(biometric_core.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "inputs.md"
_GIVEN = re.compile(
    r'(?:CaptureRefused\(|FailureToAcquire\(|refused\([\w., ]*|refusal = \(|return )\s*"([a-z_]+)"'
    r"(?=[,)])"
)


def test_each_reason_code_is_in_the_documentation_with_what_to_do():
    codes = {CLUTTER, DUPLICATE, UNKNOWN_MODALITY, NOT_IN_MODEL, "outside_data_set"}
    for folder in ("sources", "data", "imaging"):
        for path in (PACKAGE / folder).rglob("*.py"):
            codes |= set(_GIVEN.findall(path.read_text("utf-8")))
    known = {"bad_name", "nested_archive", "duplicate_member", "compression_ratio", "no_pupil"}
    assert codes >= known | {"link_leaves_source", "overlapping_member", "too_large", "odd_shape"}
    rows = [line.split("|") for line in PAGE.read_text("utf-8").splitlines() if line[:3] == "| `"]
    told = {cells[1].strip().strip("`"): cells[3].strip() for cells in rows if len(cells) == 5}
    assert codes - told.keys() == set()
    assert all(told.values())
