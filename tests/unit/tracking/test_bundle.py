"""The bundle in a process of its own, far from this checkout."""

import ast
import json
import pickletools
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest

from biometric_core.config import load_config
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.stages.evaluate import evaluate
from biometric_core.stages.register import register
from biometric_core.stages.train import train
from biometric_core.tracking import bundle, registry, runs
from tests.support.tiny_store import fill, small

_FRESH = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.read_pickle(sys.argv[2])
out = model.predict(rows, params={"fmr": 0.01})
own = {name: m.__file__ for name, m in sys.modules.items() if name.startswith("biometric_core")}
print("RESULT" + json.dumps({"rows": out.to_dict("records"), "modules": own}, default=str))
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A configuration with a trained and registered challenger, and what a fresh process says."""
    root = tmp_path_factory.mktemp("bundle with space")
    config = small(
        load_config(
            "test",
            {
                "storage": {"root": str(root / "data")},
                "mlflow": {
                    "tracking_uri": f"sqlite:///{root}/mlflow.db",
                    "artifact_root": str(root / "artifacts"),
                },
            },
        )
    )
    fill(config, subjects=8)
    run_id = train(config).run_id
    evaluate(config, run_id=run_id)
    register(config, run_id=run_id)
    return config


def folder(config) -> Path:
    found = registry.require(config, "challenger")
    return runs.download(config, found.run_id, bundle.FOLDER)


def test_no_file_of_the_bundle_is_a_pickle(registered):
    files = [path for path in folder(registered).rglob("*") if path.is_file()]
    assert {"MLmodel", "model.safetensors", "recogniser.py", "requirements.txt"} <= {
        path.name for path in files
    }
    for path in files:
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".pyc"}
        if path.suffix not in {".py", ".txt", ".yaml", ".json"} and path.name != "MLmodel":
            with pytest.raises(ValueError, match=r"opcode|pickle|exhausted|truncated|expected"):
                list(pickletools.genops(path.read_bytes()))


def test_the_bundle_holds_the_model_card_of_its_evaluation(registered):
    text = (folder(registered) / bundle.MODEL_CARD).read_text("utf-8")
    version = registry.require(registered, "challenger")
    logged = runs.download(registered, version.run_id, runs.EVALUATION)
    assert text == (logged / bundle.MODEL_CARD).read_text("utf-8")
    assert version.run_id in text
    subjects = runs.get_run(registered, version.run_id).params["data.subjects"]
    assert f"| subjects | {subjects} |" in text
    assert "s000" not in text, "no subject is named"


def test_a_model_that_was_not_evaluated_has_no_card(config):
    config = small(config)
    fill(config, subjects=8)
    run_id = train(config).run_id
    register(config, run_id=run_id)
    assert not (runs.download(config, run_id, bundle.FOLDER) / bundle.MODEL_CARD).exists()


def test_the_bundle_says_what_goes_in_and_out(registered):
    import mlflow

    info = mlflow.models.get_model_info(str(folder(registered)))
    assert info.signature.inputs.input_names() == [
        "image",
        "modality",
        "reference",
        "comparison",
    ]
    assert info.signature.inputs.required_input_names() == ["image", "modality"]
    assert info.signature.outputs.input_names() == [
        "embedding",
        "quality",
        "failure",
        "score",
        "accepted",
        "fused_score",
        "fused_accepted",
    ]
    assert info.signature.params.params[0].name == "fmr"
    example = json.loads((folder(registered) / "input_example.json").read_text())
    assert example["columns"] == ["image", "modality", "reference"]


def test_a_fresh_process_elsewhere_loads_it_and_scores_images(registered, tmp_path):
    example = bundle.input_example()
    rows = example.loc[[0, 0, 0, 0]].reset_index(drop=True)
    rows.loc[1, "reference"] = None
    rows.loc[2, "image"] = b"no image"
    rows.loc[3, "modality"] = "voice"
    rows.to_pickle(tmp_path / "rows.pkl")
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, str(folder(registered)), str(tmp_path / "rows.pkl")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.split("RESULT")[1])
    both, single, broken, foreign = result["rows"]
    assert np.linalg.norm(both["embedding"]) == pytest.approx(1, abs=1e-4)
    recogniser, _ = registry.load_recogniser(registered, "challenger")
    assert isinstance(recogniser, Recogniser)
    sample = recogniser.acquire(example["image"][0], Modality.IRIS)
    mine = recogniser.embed(Modality.IRIS, sample.image[None], sample.mask[None])
    assert both["embedding"] == pytest.approx(mine[0].tolist(), abs=1e-4)
    assert both["score"] == pytest.approx(
        float(recogniser.compare_samples(Modality.IRIS, [sample], [sample])[0, 0]), abs=1e-3
    )
    assert both["accepted"] == bool(both["score"] >= recogniser.threshold(0.01, Modality.IRIS)), (
        "accepted by the threshold of its own modality"
    )
    assert both["failure"] is None
    assert (single["score"], single["accepted"]) == (None, None)
    assert single["embedding"] == both["embedding"]
    assert (broken["embedding"], broken["quality"], broken["score"]) == ([], 0.0, None)
    assert broken["failure"]
    assert foreign["failure"] == "unknown_modality"
    code = str(folder(registered) / "code")
    assert all(path.startswith(code) for path in result["modules"].values()), result["modules"]
    assert imported(result["modules"].values()) <= required(), "requirements.txt is complete"


def test_any_subset_of_eyes_and_fingers_is_compared_and_none_says_so(registered):
    from mlflow.pyfunc import PythonModelContext

    from biometric_core.tracking.pyfunc_model import RecogniserModel

    recogniser, _ = registry.load_recogniser(registered, "challenger")
    model = RecogniserModel()
    model.recogniser = recogniser
    example = bundle.input_example()
    rows = example.loc[[0] * 6].reset_index(drop=True)
    rows["comparison"] = ["a", "a", "b", "b", "c", None]
    rows.loc[3, "image"] = b"no image"
    rows.loc[4, "reference"] = None
    found = model.predict(PythonModelContext({}, {}), rows)
    score = found["score"][0]
    assert found["fused_score"].tolist() == [
        pytest.approx(2 * score),
        pytest.approx(2 * score),
        pytest.approx(score),
        pytest.approx(score),
        None,
        None,
    ]
    assert found["failure"][4] == "nothing_to_compare"
    assert found["failure"][5] is None
    assert found["fused_accepted"][0] == (2 * score >= recogniser.threshold(0.001, "fused"))


def imported(files) -> set[str]:
    """Distributions that these source files import, by the top-level names in them."""
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    owners = packages_distributions()
    names -= set(sys.stdlib_module_names) | {"biometric_core"}
    # Imported only where captures come in, never where a bundle answers.
    names -= {"ray"}
    return {owners[name][0].lower() for name in names}


def required() -> set[str]:
    return {line.split("==")[0] for line in bundle.requirements()}
