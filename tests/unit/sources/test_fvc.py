"""FVC data sets: every stage that takes a source takes them."""

import zipfile
from datetime import UTC, datetime
from pathlib import PurePosixPath

import cv2
import pytest

from biometric_core.sources.layouts import parse
from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.support.drawn_captures import REAL, REAL_FINGERS, draw_finger
from tests.support.drawn_source import drawn_config


@pytest.mark.parametrize("archive", [REAL_FINGERS, REAL / "fvc2002-db3b.zip"])
def test_the_archives_are_ten_fingers_of_eight_impressions(archive):
    if not archive.is_file():
        pytest.skip("the FVC archives are not here")
    with zipfile.ZipFile(archive) as opened:
        captures = [parse(PurePosixPath(name)) for name in opened.namelist()]
    found = [capture for capture in captures if capture]
    assert len(found) == 80
    assert len({capture.subject for capture in found}) == 10
    assert {capture.impression for capture in found} == set(range(1, 9))


def test_ingest_takes_fingers_of_unknown_position(config, tmp_path):
    source = tmp_path / "source" / "DB1_B"
    source.mkdir(parents=True)
    for finger in (101, 102):
        for impression in (1, 2):
            image = draw_finger(period=8 + 0.2 * (finger - 100) + 0.05 * impression)
            cv2.imwrite(str(source / f"{finger}_{impression}.tif"), image)
    ingest(
        drawn_config(config),
        source=str(source.parent),
        captured_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    rows = Store.of(config).read("captures", ["subject_id", "modality", "position", "impression"])
    assert set(rows["modality"].to_pylist()) == {"fingerprint"}
    assert set(rows["position"].to_pylist()) == {"unknown"}
    assert sorted(rows["impression"].to_pylist()) == [1, 1, 2, 2]
    assert len(set(rows["subject_id"].to_pylist())) == 2
