from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.schemas import POSITIONS, Modality
from biometric_core.sources.layouts import (
    SourceCapture,
    data_root,
    flat_path,
    is_clutter,
    layout,
    parse,
)

ROOT = "IRIS and FINGERPRINT DATASET"
IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


@pytest.mark.parametrize("prefix", ["", f"{ROOT}/", f"data/{ROOT}/", "iris/fingerprint/left/"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("3/left/somebodyl4.bmp", ("3", IRIS, "left", 4, None)),
        ("3/right/Somebodyr2.BMP", ("3", IRIS, "right", 2, None)),
        ("12/left/lec_1.bmp", ("12", IRIS, "left", 1, None)),
        ("3/Fingerprint/3__M_Right_thumb_finger.BMP", ("3", FINGER, "right_thumb", 1, "M")),
        ("3/Fingerprint/3__F_Left_little_finger.bmp", ("3", FINGER, "left_little", 1, "F")),
        ("iris/001_L_01.bmp", ("001", IRIS, "left", 1, None)),
        ("iris/a_b_R_12.PNG", ("a_b", IRIS, "right", 12, None)),
        ("fingerprint/001_L_thumb_01.BMP", ("001", FINGER, "left_thumb", 1, None)),
        ("fingerprint/7_R_ring_3.tif", ("7", FINGER, "right_ring", 3, None)),
        ("fingerprint/7_unknown_03.png", ("7", FINGER, "unknown", 3, None)),
        ("Fingerprint/7_r_Ring_3.jpeg", ("7", FINGER, "right_ring", 3, None)),
    ],
)
def test_paths_of_both_layouts_at_any_depth(prefix, path, expected):
    assert parse(PurePosixPath(prefix + path)) == SourceCapture(*expected)
    assert data_root(PurePosixPath(prefix + path)) == PurePosixPath(prefix)


@pytest.mark.parametrize("folder", ["", "fvc/DB1_B/", "FVC2002/Dbs/any/deep/"])
@pytest.mark.parametrize(
    "suffix", [".tif", ".TIF", ".png", ".bmp", ".wsq", ".WSQ", ".jp2", ".j2k", ".jpx"]
)
def test_fvc_names_at_any_depth(folder, suffix):
    path = PurePosixPath(f"{folder}101_8{suffix}")
    assert parse(path) == SourceCapture("101", FINGER, "unknown", 8, None)
    assert data_root(path) == PurePosixPath(folder)
    assert layout(path) == "fvc"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("3/left/12_1.bmp", "kaggle"),  # an eye, though its name would do for a finger
        ("iris/001_L_01.bmp", "flat"),
        ("fingerprint/001_unknown_01.bmp", "flat"),
        ("iris/101_1.tif", None),
        ("left/101_1.tif", None),
        ("a101_1.tif", None),
        ("101_1_2.tif", None),
        ("101-1.tif", None),
        ("101_1.txt", None),
        ("101_.tif", None),
        ("١_١.tif", None),  # digits, but none of FVC's
    ],
)
def test_fvc_takes_nothing_of_other_layouts(path, expected):
    assert layout(PurePosixPath(path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT}/readme.bmp",
        f"{ROOT}/3/somebodyl4.bmp",
        f"{ROOT}/3/left/notes.txt",
        f"{ROOT}/3/left/desktop.ini",
        f"{ROOT}/3/Fingerprint/3__M_Right_thumb_finger_CR.BMP",  # SOCOFing: altered, no capture
        f"{ROOT}/3/Fingerprint/3__M_Right_nose_finger.BMP",
        f"{ROOT}/3/.hidden/left/somebodyl4.bmp",
        "iris/001_L.bmp",
        "iris/001_L_thumb.bmp",
        "fingerprint/001_L_01.bmp",
        "iris/left/somebodyl1.bmp",
        "__MACOSX/iris/001_L_01.bmp",
        "001_L_01.bmp",
        "left/somebodyl1.bmp",
    ],
)
def test_what_names_no_capture(path):
    assert parse(PurePosixPath(path)) is None
    assert data_root(PurePosixPath(path)) is None


@pytest.mark.parametrize(
    ("path", "clutter"),
    [
        ("a/desktop.ini", True),
        ("a/.DS_Store", True),
        ("a/Thumbs.db", True),
        ("__MACOSX/a/x.bmp", True),
        ("a/._x.bmp", True),
        ("a/x.bmp", False),
        ("a/readme.txt", False),
        ("../../.bashrc", False),  # an escape attempt is no clutter
        ("/root/.ssh/config", False),
    ],
)
def test_clutter(path, clutter):
    assert is_clutter(PurePosixPath(path)) is clutter


@given(
    modality=st.sampled_from(Modality),
    position=st.integers(0, 10),
    subject=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    impression=st.integers(0, 999_999),
    suffix=st.sampled_from([".png", ".bmp", ".TIF"]),
)
def test_flat_path_and_parse_are_inverse(modality, position, subject, impression, suffix):
    positions = POSITIONS[modality]
    capture = SourceCapture(subject, modality, positions[position % len(positions)], impression)
    assert parse(flat_path(capture, suffix)) == capture


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), max_size=5))
def test_no_path_breaks_the_parser(parts):
    path = PurePosixPath(*parts)
    found = parse(path)
    assert found is None or found.position in POSITIONS[found.modality]
