"""Numbered people of different sources are different people, and the same at the door."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.errors import ConfigError
from biometric_core.sources.generator.people import generate
from biometric_core.sources.layouts import GENERATED
from biometric_core.sources.replay import replay
from biometric_core.stages.ingest import IngestResult, ingest
from biometric_core.storage.store import Store
from tests.support.earlier_store import taken_in_before
from tests.support.small_sources import image, write_folder, write_zip
from tests.support.tiny_store import changed

FLAT = {"iris/1_L_01.bmp": image(1), "iris/2_L_01.bmp": image(2)}
FVC = {"1_1.png": image(3), "2_1.png": image(4)}
KAGGLE = {"1/left/al1.bmp": image(5), "2/left/bl1.bmp": image(6)}
OTHER = {"iris/1_L_01.bmp": image(7), "iris/3_L_01.bmp": image(8)}


def take(config: Config, source: Path, **how) -> IngestResult:
    return ingest(config, source=str(source), **how)


def people(config: Config) -> set[tuple[str, str]]:
    """Namespace and name, of those whose names are numbers."""
    names = Pseudonymiser.of(Store.of(config))
    spaces = ("default", "generated", "fvc", "kaggle", "folder", "site-a")
    known = {
        names.of_subject(space, number): (space, number)
        for space in spaces
        for number in ("001", "002", "1", "2", "3")
    }
    rows = Store.of(config).read("captures", ["subject_id", "namespace"]).to_pylist()
    found = {(known[row["subject_id"]], row["namespace"]) for row in rows}
    assert all(told in (None, person[0]) for person, told in found)
    return {person for person, _ in found}


def test_number_one_of_each_kind_of_source_is_somebody_else(config, tmp_path):
    take(config, write_folder(tmp_path / "flat", FLAT))
    take(config, write_zip(tmp_path / "fvc.zip", FVC))
    take(config, write_folder(tmp_path / "kaggle", KAGGLE), kind="kaggle")
    generate(config, out=str(tmp_path / "drawn"), subjects=2, impressions=1, workers=1)
    assert take(config, tmp_path / "drawn").namespace == "generated"
    expected = {(space, n) for space in ("folder", "fvc", "kaggle") for n in ("1", "2")}
    assert people(config) == expected | {("generated", "001"), ("generated", "002")}


def test_drawn_people_are_the_same_by_command_line_dag_zip_and_replay(config, tmp_path):
    generate(config, out=str(tmp_path / "drawn"), subjects=2, impressions=4, workers=1)
    told = replay(
        config,
        source=str(tmp_path / "drawn"),
        out=str(tmp_path / "story"),
        first_day=datetime(2026, 1, 5, tzinfo=UTC).date(),
    )
    with zipfile.ZipFile(tmp_path / "drawn.zip", "w") as archive:
        for path in (tmp_path / "drawn").rglob("*.*"):
            archive.write(path, f"data/{path.relative_to(tmp_path / 'drawn')}")
    first = take(config, Path(told.history))
    later = take(config, tmp_path / "drawn", kind="generator")
    again = take(config, tmp_path / "drawn.zip")
    assert {one.namespace for one in (first, later, again)} == {"generated"}
    assert (later.duplicates, again.duplicates, again.added) == (0, 0, 0)
    assert people(config) == {("generated", "001"), ("generated", "002")}


@pytest.mark.parametrize(
    ("history", "kind", "space"),
    [
        (FLAT, "folder", "folder"),
        (KAGGLE, "kaggle", "kaggle"),
        (KAGGLE, "folder", "kaggle"),
        (FVC, "zip", "fvc"),
        (FLAT, "generator", "generated"),
    ],
)
@pytest.mark.parametrize("configured", ["generator", "folder", "kaggle"])
def test_who_is_enrolled_is_the_same_at_the_door(
    config, tmp_path, history, kind, space, configured
):
    config = changed(config, "source", kind=configured)
    take(config, write_folder(tmp_path / "source", history), kind=kind)
    day = write_folder(tmp_path / "inbox/2026-01-05", OTHER)
    assert take(config, day, kind="inbox").namespace == space
    assert people(config) == {(space, number) for number in "123"}


def test_a_day_handed_over_by_hand_is_of_the_inbox(config, tmp_path):
    take(config, write_folder(tmp_path / "source", KAGGLE))
    day = write_folder(Path(config.storage.inbox, "2026-01-05"), OTHER)
    assert take(config, day).namespace == "kaggle"
    assert set(Store.of(config).read("captures")["source"].to_pylist()) == {"folder", "inbox"}


def test_what_a_training_source_had_brought_before_the_inbox_is_told(config, tmp_path, caplog):
    take(config, write_folder(tmp_path / "source", FLAT))
    day = write_folder(Path(config.storage.inbox, "2026-01-05"), {**OTHER, **FLAT})
    take(config, day)
    told = f"{len(FLAT)} of these captures had been taken in by a training source before"
    assert told in caplog.text
    caplog.clear()
    take(config, write_folder(Path(config.storage.inbox, "2026-01-06"), OTHER))
    take(config, write_folder(tmp_path / "again", FLAT))
    assert "training source before" not in caplog.text


def test_the_inbox_stays_with_its_people_when_others_come_in(config, tmp_path):
    take(config, write_folder(tmp_path / "source", FLAT))
    day = write_folder(tmp_path / "inbox/2026-01-05", {"iris/1_R_01.bmp": image(9)})
    assert take(config, day, kind="inbox").namespace == "folder"
    take(config, write_folder(tmp_path / "fvc", FVC))
    day = write_folder(tmp_path / "inbox/2026-01-06", {"iris/2_R_01.bmp": image(10)})
    assert take(config, day, kind="inbox").namespace == "folder"


def test_an_inbox_whose_people_nothing_tells_is_one_clear_line(config, tmp_path):
    for name, files in (("flat", FLAT), ("fvc", FVC)):
        take(config, write_folder(tmp_path / name, files))
    day = write_folder(tmp_path / "inbox/2026-01-05", OTHER)
    with pytest.raises(ConfigError, match=r"namespaces folder, fvc .* set source\.namespace"):
        take(config, day, kind="inbox")
    chosen = changed(config, "source", kind="folder", path="flat")
    assert take(chosen, day, kind="inbox").namespace == "folder"


def test_what_is_configured_counts_for_every_source(config, tmp_path):
    config = changed(config, "source", namespace="site-a")
    take(config, write_folder(tmp_path / "flat", FLAT))
    take(config, write_folder(tmp_path / "fvc", FVC))
    take(config, write_folder(tmp_path / "day", OTHER), kind="inbox")
    assert people(config) == {("site-a", number) for number in "123"}


def test_a_store_from_before_keeps_its_namespace_throughout(config, tmp_path):
    taken_in_before(config, write_folder(tmp_path / "flat", FLAT))
    take(config, write_folder(tmp_path / "fvc", FVC))
    take(config, write_folder(tmp_path / "day", OTHER), kind="inbox")
    assert take(config, tmp_path / "flat").known == 2
    assert people(config) == {("default", number) for number in "123"}


def test_the_first_mixing_of_sources_is_told_with_how_many_people_it_joins(
    config, tmp_path, caplog
):
    take(config, write_folder(tmp_path / "one", FLAT))
    take(config, write_folder(tmp_path / "inbox", {"iris/1_R_01.bmp": image(9)}), kind="inbox")
    write_folder(tmp_path / "one", {"iris/4_L_01.bmp": image(11)})
    take(config, tmp_path / "one")
    assert not caplog.records, "the same source, and its own people at the door"
    take(config, write_folder(tmp_path / "two", OTHER))
    (record,) = caplog.records
    assert "namespace folder already" in record.getMessage()
    assert "1 of this source are taken for people who were there" in record.getMessage()
    caplog.clear()
    take(config, write_folder(tmp_path / "three", {"iris/9_L_01.bmp": image(12)}))
    assert not caplog.records, "it is told at the first"
    take(config, write_folder(tmp_path / "fvc", FVC))
    assert "a new namespace, fvc, beside folder" in caplog.text


def test_the_mark_of_the_generator_is_no_capture(config, tmp_path):
    write_folder(tmp_path / "drawn", FLAT | {GENERATED: b"{}"})
    result = take(config, tmp_path / "drawn")
    assert (result.added, result.reasons) == (2, {"clutter": 1})
