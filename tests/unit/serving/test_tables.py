"""Cells of a table that a spreadsheet opens: text is text, numbers are numbers."""

import csv

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from biometric_core.serving.batch import COLUMNS, EMBEDDING
from biometric_core.serving.tables import harmless, writer

SCHEMA = COLUMNS.append(EMBEDDING)
FORMULAS = [
    '=HYPERLINK("http://x")/left/aeval1.bmp',
    "+49/left/aeval1.bmp",
    "-1/left/aeval1.bmp",
    "@SUM(1)/x.bmp",
    "\t=1/x.bmp",
    "\r=1/x.bmp",
    "\n=1/x.bmp",
    "\tplain/x.bmp",
    "  =1/x.bmp",
    "\u00a0=1/x.bmp",
    "\u3000=1/x.bmp",
    "＝1/x.bmp",
    "＋1/x.bmp",
    "－1/x.bmp",
    "＠x/x.bmp",
    "﹦1/x.bmp",
]
PLAIN = [
    "iris/001_L_01.bmp",
    "a=b.bmp",
    "1-2/x.bmp",
    "Jörg, der 2./x.bmp",
    'say "x".bmp',
    "a;=1.bmp",
]


def written(tmp_path, kind, paths, subject=None):
    rows = [
        {
            "path": path,
            "modality": "iris",
            "position": "left",
            "quality": -1.5,
            "failure": None,
            "subject_id": subject or path,
            "probability": 0.25,
            "embedding": [-0.5, 0.5],
        }
        for path in paths
    ]
    target = tmp_path / f"out.{kind}"
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    writer(str(target))(target, SCHEMA, [batch])
    return target


def cells(target) -> list[dict[str, str]]:
    with target.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_cell_that_would_be_a_formula_has_an_apostrophe_in_front(tmp_path):
    rows = cells(written(tmp_path, "csv", FORMULAS))
    assert [row["path"] for row in rows] == [f"'{path}" for path in FORMULAS]
    assert [row["subject_id"] for row in rows] == [f"'{path}" for path in FORMULAS]


def test_other_text_and_numbers_stay_as_they_are(tmp_path):
    target = written(tmp_path, "csv", PLAIN)
    rows = cells(target)
    assert [row["path"] for row in rows] == PLAIN
    assert {row["quality"] for row in rows} == {"-1.5"}
    assert {row["embedding"] for row in rows} == {"[-0.5, 0.5]"}
    assert {row["failure"] for row in rows} == {""}
    read = pyarrow.csv.read_csv(target)
    assert read["quality"].to_pylist() == [-1.5] * len(PLAIN)
    assert read["probability"].to_pylist() == [0.25] * len(PLAIN)


def test_a_program_that_separates_by_semicolons_finds_no_cell_in_a_cell(tmp_path):
    target = written(tmp_path, "csv", ["a;=1+1;.bmp", "\t;=1+1"], subject="5f0c")
    with target.open(newline="", encoding="utf-8") as file:
        found = [cell for row in csv.reader(file, delimiter=";") for cell in row]
    assert not [cell for cell in found if cell.startswith("=")]


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, "'quoted.bmp", "''=1", "'"])
def test_without_one_leading_apostrophe_everybody_has_the_text_as_it_was(text):
    shown = harmless(text)
    assert shown.removeprefix("'") == text
    assert shown.startswith("'") or not text.startswith("'")


def test_nothing_stays_nothing():
    assert harmless("") == ""


def test_parquet_and_delta_hold_the_text_itself(tmp_path):
    assert pq.read_table(written(tmp_path, "parquet", FORMULAS))["path"].to_pylist() == FORMULAS
    table = DeltaTable(written(tmp_path, "delta", FORMULAS)).to_pyarrow_table()
    assert table["path"].to_pylist() == FORMULAS
