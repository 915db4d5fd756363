"""A model that an earlier release registered answers as it did, whatever moved since.

A bundle carries its own code, but a process that has imported the package already runs the
bundle's `pyfunc_model.py` against the package it has. `tests/support/earlier_model` holds a
recogniser (random weights, generated images) and its answers as made before the modules moved into
packages, and every `pyfunc_model.py` that a bundle may carry.
"""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

import tests.support

_MODEL = Path(tests.support.__path__[0]) / "earlier_model"
_ANSWERS = json.loads((_MODEL / "answers.json").read_text())
# What each release's `pyfunc_model.py` scores by: the first compared embeddings alone.
_SCORED_BY = {
    "pyfunc_first": "score_of_embeddings",
    "pyfunc_phase_code": "score",
    "pyfunc_any_subset": "score",
}
# Float32 convolutions differ in the last digits from one processor to another.
_TOLERANCE = 1e-4

_FRESH = """
import json, sys
import mlflow, pandas as pd
rows, *folders = sys.argv[1:]
found = [mlflow.pyfunc.load_model(f).predict(pd.read_pickle(rows)) for f in folders]
print("RESULT" + json.dumps([out["score"].tolist() for out in found]))
"""


def rows() -> pd.DataFrame:
    images = {path.stem: path.read_bytes() for path in _MODEL.glob("*.png")}
    return pd.DataFrame(
        {
            "image": [images["eye_1"], images["finger_1"]],
            "modality": ["iris", "fingerprint"],
            "reference": [images["eye_2"], images["finger_2"]],
            "comparison": ["a", "a"],
        }
    )


def close(value):
    return pytest.approx(value, abs=_TOLERANCE)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """A bundle as each earlier release wrote it, but for the code beside it."""
    found = {name: tmp_path_factory.mktemp(name) / "bundle" for name in _SCORED_BY}
    for name, folder in found.items():
        mlflow.pyfunc.save_model(
            path=folder,
            python_model=_MODEL / f"{name}.py",
            artifacts={"recogniser": str(_MODEL)},
            pip_requirements=["mlflow"],
        )
    return found


@pytest.mark.parametrize("release", _SCORED_BY)
def test_a_process_that_has_imported_the_package_gets_the_earlier_answers(bundles, release):
    import biometric_core.recogniser  # noqa: F401

    found = mlflow.pyfunc.load_model(str(bundles[release])).predict(rows())
    assert found["quality"].tolist() == close(_ANSWERS["quality"])
    assert found["score"].tolist() == close(_ANSWERS[_SCORED_BY[release]])
    for mine, then in zip(found["embedding"], _ANSWERS["embedding"], strict=True):
        assert mine == close(then)
    if release == "pyfunc_any_subset":
        assert found["fused_score"].tolist() == close(_ANSWERS["fused_score"])


def test_so_does_a_fresh_process(bundles, tmp_path):
    rows().to_pickle(tmp_path / "rows.pkl")
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, str(tmp_path / "rows.pkl"), *map(str, bundles.values())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(done.stdout.split("RESULT")[1])
    assert scores == [close(_ANSWERS[name]) for name in _SCORED_BY.values()]
