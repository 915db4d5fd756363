"""Which sensor a path names, and that its folder changes nothing else."""

import contextlib
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.errors import CaptureRefused
from biometric_core.sources.layouts import data_root, layout, parse
from biometric_core.sources.reader import iter_files, open_source
from biometric_core.sources.sensor_folders import sensor_folder, sensor_of, without_sensor
from tests.support.small_sources import flat_people, image, kaggle_people, write_folder, write_zip

PATHS = [
    "iris/001_L_02.bmp",
    "any/root/fingerprint/7_R_ring_3.tif",
    "fingerprint/7_unknown_03.png",
    "set/3/left/somebodyl4.bmp",
    "3/Fingerprint/3__M_Right_thumb_finger.BMP",
    "101_8.tif",
    "fvc/DB1_B/101_8.tif",
    "iris/readme.bmp",  # no capture, with a sensor as little as without
]
NAMES = ["door-3", "a", "7", "Gate_2.left", "x" * 64]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["sensor", "Sensor", "SENSOR"])
def test_a_sensors_folder_may_stand_anywhere_and_changes_nothing_else(path, key):
    plain = PurePosixPath(path)
    for depth in range(len(plain.parts)):
        named = PurePosixPath(*plain.parts[:depth], f"{key}=door-3", *plain.parts[depth:])
        assert sensor_of(named) == "door-3"
        assert without_sensor(named) == plain
        found = [(parse(one), layout(one), data_root(one)) for one in (plain, named)]
        assert found[0] == found[1]


@pytest.mark.parametrize(
    "path", ["iris/001_L_01.bmp", "sensors=a/iris/x.bmp", "door-3/iris/x.bmp", "sensor=a_L_1.bmp"]
)
def test_no_folder_of_a_sensor_no_sensor(path):
    assert sensor_of(PurePosixPath(path)) is None
    assert without_sensor(PurePosixPath(path)) == PurePosixPath(path)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_sensors(name):
    assert sensor_of(sensor_folder(name) / "iris/001_L_01.bmp") == name


BAD = [
    "",
    " ",
    "door 3",
    "door%203",
    "-3",
    ".",
    "..",
    "..hidden",
    "a\\b",
    "<b>",
    "a;rm",
    "a\n",
    "a\u202eb",
    "tür",
    "\u0663",  # a digit, but none of ASCII
    "a=b",
    "'",
    "x" * 65,
]


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_and_never_told(name):
    with pytest.raises(CaptureRefused) as error:
        sensor_of(PurePosixPath(f"set/sensor={name}/iris/001_L_01.bmp"))
    assert error.value.reason == "bad_sensor_name"
    assert error.value.detail == (
        "the NAME of a folder sensor=NAME is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', "
        "a letter or digit first"
    )


def test_a_sensor_within_a_sensor_is_refused():
    with pytest.raises(CaptureRefused, match="several_sensors"):
        sensor_of(PurePosixPath("sensor=a/iris/sensor=a/001_L_01.bmp"))


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_characters="/\0"), min_size=1),
            st.from_regex(r"[Ss]ensor=[^/\0]*", fullmatch=True),
        ),
        max_size=5,
    )
)
def test_any_path_names_a_fit_sensor_none_or_is_refused(parts):
    path = PurePosixPath(*parts)
    with contextlib.suppress(CaptureRefused):
        found = sensor_of(path)
        assert found is None or (found.isascii() and 0 < len(found) <= 64 and "/" not in found)
    assert not any(part.lower().startswith("sensor=") for part in without_sensor(path).parts[:-1])


@pytest.mark.parametrize(
    "people", [flat_people(2, 2), kaggle_people("set/", 2), {"101_1.tif": image(1, ".tif")}]
)
@pytest.mark.parametrize("make", [write_folder, write_zip])
def test_the_sensors_of_a_source_are_one_data_set(people, make, tmp_path, limits):
    files = dict(people)  # some lie in no folder of a sensor
    for number, sensor in enumerate(("door-3", "door-4")):
        files |= {
            f"sensor={sensor}/{name}": image(5000 + 100 * number + place)
            for place, name in enumerate(people)
        }
    source = make(tmp_path / "source.zip", files)
    opened = open_source(source, limits)
    assert opened.data_set is None
    assert [file.refusal for file in iter_files(source, limits)] == [None] * len(files)


def test_another_data_set_under_a_sensor_is_still_another(tmp_path, limits):
    files = {f"one/{name}": data for name, data in flat_people(2, 1).items()}
    files |= {"sensor=door-3/two/iris/001_L_01.bmp": image(99)}
    found = iter_files(write_folder(tmp_path / "source", files), limits)
    refused = [file.path.parts[0] for file in found if file.refusal]
    assert refused == ["sensor=door-3"]
