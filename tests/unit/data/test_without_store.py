"""A source as cross-validation reads it."""

import cv2
import pytest

from biometric_core.data.without_store import merged, prepare_source
from biometric_core.errors import DataError
from biometric_core.schemas import Modality
from tests.support.drawn_captures import draw_eye
from tests.support.drawn_source import drawn_config
from tests.support.small_sources import write_folder, write_zip

IRIS = Modality.IRIS


def eye(number: int, suffix: str) -> bytes:
    return cv2.imencode(suffix, draw_eye(eye=number))[1].tobytes()


def test_one_image_in_two_formats_is_one_capture_in_one_source_and_in_two(config, tmp_path):
    config = drawn_config(config)
    one = {"iris/1_L_01.bmp": eye(1, ".bmp"), "iris/1_L_02.png": eye(1, ".png")}
    one |= {"iris/2_L_01.bmp": eye(2, ".bmp")}
    two = {"iris/7_L_01.png": eye(2, ".png"), "iris/8_L_01.png": eye(3, ".png")}
    sources = [write_folder(tmp_path / "one", one), write_zip(tmp_path / "two.zip", two)]
    sets = [prepare_source(config, str(source)).sets for source in sources]
    assert [len(found[IRIS]) for found in sets] == [2, 2]
    together = merged(sets)[IRIS]
    assert sorted(together.subject_id.tolist()) == ["0:1", "0:2", "1:8"]
    assert together.capture_id.tolist() == sorted(together.capture_id.tolist())


def test_what_is_left_out_is_counted_by_reason(config, tmp_path):
    files = {"iris/1_L_01.bmp": eye(1, ".bmp"), "iris/\u200b2_L_01.bmp": eye(2, ".bmp")}
    files |= {"more.zip": b"PK\3\4", "labels.csv": b"x", "Thumbs.db": b"x"}
    found = prepare_source(drawn_config(config), str(write_folder(tmp_path / "s", files)))
    assert found.left_out == {"bad_name": 1, "nested_archive": 1, "unknown_layout": 1}
    with pytest.raises(DataError, match=r"left out: \{'nested_archive': 1\}"):
        prepare_source(config, str(write_zip(tmp_path / "s.zip", {"in.zip": b"x"})))
