"""The code of a bundle in a process of its own: what it is asked, and what it may not do."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import biometric_core
from biometric_core.config import Ingest, Preprocess
from biometric_core.errors import ModelError
from biometric_core.imaging.earlier_code import EarlierCode
from biometric_core.imaging.preparation import prepare_batch, version_of
from biometric_core.schemas import Modality
from tests.support.drawn_captures import draw_eye
from tests.support.earlier_release import earlier_release

SETTINGS = Preprocess(iris_shape=(16, 32), fingerprint_shape=(128, 128))
HERE = Path(biometric_core.__file__).parents[1]

# What a release before the packages offered, and no more: its modules lay side by side.
FLAT = {
    "__init__": "",
    "schemas": "from enum import StrEnum\nclass Modality(StrEnum):\n    IRIS = 'iris'\n",
    "config": """
class Section:
    model_fields = ()
    def __init__(self, **values):
        assert set(values) <= set(self.model_fields), values
        vars(self).update(values)
class Preprocess(Section):
    model_fields = ("iris_shape",)
class Ingest(Section):
    model_fields = ("max_pixels",)
class Config(Section):
    model_fields = ("preprocess",)
""",
    "preprocess": "def preprocess_version(config): return f'0-{config.preprocess.iris_shape}'",
    "prepare": """
from types import SimpleNamespace
import numpy as np
def prepare_batch(files, modality, settings, limits):
    print("this is no answer")
    images = np.full((1, *settings.iris_shape), len(files), np.uint8)
    quality = np.array([0.5, 0], np.float32)
    return SimpleNamespace(images=images, masks=images, quality=quality, failures=(None, 'odd'))
""",
}


def flat(folder: Path) -> Path:
    (folder / "biometric_core").mkdir(parents=True)
    for name, text in FLAT.items():
        (folder / "biometric_core" / f"{name}.py").write_text(text)
    return folder


def eyes() -> list[bytes | None]:
    return [cv2.imencode(".png", draw_eye())[1].tobytes(), b"no image", None]


def test_the_same_code_gives_the_same_bit_for_bit():
    what = (eyes(), Modality.IRIS, SETTINGS, Ingest())
    here = prepare_batch(*what)
    there = EarlierCode(version_of(SETTINGS), HERE).prepare_batch(*what)
    assert there.failures == here.failures == (None, "not_an_image", "unreadable")
    for name in ("images", "masks", "quality"):
        ours, theirs = getattr(here, name), getattr(there, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_other_code_prepares_as_it_did(tmp_path):
    release = earlier_release(tmp_path)
    version = version_of(SETTINGS).replace("2-", "1-", 1)
    found = EarlierCode(version, release).prepare_batch(eyes(), Modality.IRIS, SETTINGS, Ingest())
    assert found.failures == (None, "not_an_image", "unreadable")
    assert len(np.unique(found.images)) <= 4
    assert not list(release.rglob("__pycache__")), "the bundle is left as it is"


def test_of_a_release_before_the_packages_only_what_it_had_is_asked(tmp_path):
    code = EarlierCode("0-[16, 32]", flat(tmp_path))
    found = code.prepare_batch([b"", b""], Modality.IRIS, SETTINGS, Ingest(), bits=[10, None])
    assert found.images.shape == (1, 16, 32)
    assert found.images.max() == 2
    assert found.failures == (None, "odd")
    assert found.quality.tolist() == [0.5, 0]


@pytest.mark.parametrize("wrong", ["another version", "broken", "killed"])
def test_code_that_does_not_run_is_one_line_that_says_what_to_do(tmp_path, wrong):
    release, version, reason = flat(tmp_path), "0-[16, 32]", "ModuleNotFoundError: No module named"
    if wrong == "another version":
        version, reason = "9-[16, 32]", r"it makes 0-\[16, 32\]"
    else:
        module = release / "biometric_core" / "prepare.py"
        ways = {"broken": "import no_such_package", "killed": "import os; os.kill(os.getpid(), 9)"}
        module.write_text(ways[wrong])
        reason = "exit status -9" if wrong == "killed" else reason
    code = EarlierCode(version, release)
    with pytest.raises(ModelError, match=reason) as error:
        code.prepare_batch([b"", b""], Modality.IRIS, SETTINGS, Ingest())
    assert f"can't be prepared as {version}" in str(error.value)
    assert "run `biometric preprocess` of the release that trained it" in str(error.value)
    assert "\n" not in str(error.value)
