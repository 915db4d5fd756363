"""In the model as MLflow loads it a row that is wrong fails alone, with a reason."""

import base64
import io
import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from biometric_core.tracking import bundle
from tests.unit.tracking.test_earlier_models import _MODEL

EYE, OTHER_EYE, FINGER = (
    (_MODEL / f"{name}.png").read_bytes() for name in ("eye_1", "eye_2", "finger_1")
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "model"
    bundle.write(_MODEL, folder)
    return mlflow.pyfunc.load_model(str(folder))


def asked(model, image, modality="iris", reference=None, comparison=None) -> pd.DataFrame:
    """The answers to one odd row between two good ones."""
    rows = [
        (EYE, "iris", OTHER_EYE, "a"),
        (image, modality, reference, comparison),
        (EYE, "iris", None, None),
    ]
    table = pd.DataFrame(rows, columns=["image", "modality", "reference", "comparison"])
    table = table.astype(object)
    found = model.predict(table)
    assert found["failure"].tolist()[::2] == [None, None]
    assert [len(vector) for vector in found["embedding"]][::2] == [len(found["embedding"][0])] * 2
    assert found["score"][0] is not None
    assert found["fused_score"][0] == found["score"][0]
    return found


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "not_bytes"),
        (float("nan"), "not_bytes"),
        (pd.NA, "not_bytes"),
        (pd.NaT, "not_bytes"),
        ("some/path.bmp", "not_bytes"),
        ("/data/iris/Jörg.bmp", "not_bytes"),
        (7, "not_bytes"),
        ([EYE], "not_bytes"),
        ({"image": EYE}, "not_bytes"),
        (np.frombuffer(EYE, np.uint8), "not_bytes"),
        (b"", "empty_file"),
        ("", "empty_file"),
        (b"no image", "not_an_image"),
        (base64.b64encode(b"no image").decode(), "not_an_image"),
        (EYE[: len(EYE) // 2], "truncated"),
        (FINGER[:-40], "truncated"),
    ],
)
def test_an_image_that_is_none_fails_in_its_own_row(model, image, reason):
    row = asked(model, image).loc[1]
    assert (row["failure"], row["embedding"], row["quality"]) == (reason, [], 0.0)
    assert row["score"] is None


@pytest.mark.parametrize("form", [bytearray, memoryview, np.bytes_])
def test_bytes_of_any_kind_are_an_image(model, form):
    found = asked(model, form(EYE), reference=form(OTHER_EYE))
    assert found["embedding"][1] == found["embedding"][0]
    assert found["score"][1] == found["score"][0]


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_so_is_base64_text(model, encode):
    found = asked(model, encode(EYE).decode(), reference=encode(OTHER_EYE).decode())
    assert found["score"][1] == found["score"][0]


@pytest.mark.parametrize("reference", [None, float("nan"), pd.NA, b"", ""])
def test_without_a_reference_there_is_no_score_and_no_failure(model, reference):
    row = asked(model, EYE, reference=reference).loc[1]
    assert (row["failure"], row["score"], row["accepted"]) == (None, None, None)


@pytest.mark.parametrize("reference", ["some/path.bmp", 7, [EYE], np.frombuffer(EYE, np.uint8)])
def test_a_reference_that_is_no_image_is_told(model, reference):
    row = asked(model, EYE, reference=reference).loc[1]
    assert (row["failure"], row["score"]) == ("not_bytes", None)


@pytest.mark.parametrize(
    "modality", [None, float("nan"), pd.NA, "Iris", "", b"iris", 1, ["iris"], np.array(["iris"])]
)
def test_a_modality_that_is_none_fails_in_its_own_row(model, modality):
    assert asked(model, EYE, modality).loc[1, "failure"] == "unknown_modality"


@pytest.mark.parametrize("comparison", [1, 1.5, b"a", ["a"], {"a"}, np.array(["a", "b"])])
def test_a_comparison_that_is_no_text_is_told_and_not_added(model, comparison):
    row = asked(model, EYE, reference=OTHER_EYE, comparison=comparison).loc[1]
    assert row["failure"] == "comparison_not_text"
    assert row["score"] is not None
    assert row["fused_score"] is None


@pytest.mark.parametrize("comparison", [None, float("nan"), pd.NA, ""])
def test_rows_without_a_comparison_are_in_none(model, comparison):
    row = asked(model, EYE, reference=OTHER_EYE, comparison=comparison).loc[1]
    assert (row["failure"], row["fused_score"]) == (None, None)


@pytest.mark.parametrize("image", [None, float("nan"), "some/path.bmp", 7])
def test_a_table_without_a_single_image_is_answered_too(model, image):
    table = pd.DataFrame({"image": [image, image], "modality": ["iris", "iris"]})
    assert model.predict(table)["failure"].tolist() == ["not_bytes", "not_bytes"]


def test_no_rows_are_no_answers(model):
    found = model.predict(pd.DataFrame({"image": [], "modality": []}, dtype=object))
    assert len(found) == 0
    assert "failure" in found.columns


def test_a_modality_the_model_was_not_trained_on_fails_alone(model, monkeypatch):
    inner = model.unwrap_python_model().recogniser
    monkeypatch.setattr(type(inner), "modalities", ("iris",))
    assert asked(model, FINGER, "fingerprint").loc[1, "failure"] == "modality_not_in_model"


def hostile() -> dict[str, np.ndarray]:
    """Pixels that no sensor gives, by name."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:240, :320]
    return {
        "black": np.zeros((240, 320), np.uint8),
        "white": np.full((240, 320), 255, np.uint8),
        "noise": rng.integers(0, 256, (240, 320)).astype(np.uint8),
        "checkers": (((rows // 2 + columns // 2) % 2) * 255).astype(np.uint8),
        "stripes": ((columns % 9 < 4) * 255).astype(np.uint8),
        "ramp": (columns * 255 / 319).astype(np.uint8),
        "one dot": np.pad(np.full((1, 1), 255, np.uint8), 120),
        "disc": (((rows - 120) ** 2 + (columns - 160) ** 2 < 3000) * 255).astype(np.uint8),
        "thin": rng.integers(0, 256, (32, 4000)).astype(np.uint8),
        "tall": rng.integers(0, 256, (4000, 32)).astype(np.uint8),
    }


@pytest.mark.parametrize("modality", ["iris", "fingerprint"])
@pytest.mark.parametrize("name", hostile())
def test_hostile_pixels_leave_the_others_answered(model, name, modality):
    data = io.BytesIO()
    Image.fromarray(hostile()[name]).save(data, "PNG")
    row = asked(model, data.getvalue(), modality, reference=data.getvalue()).loc[1]
    if row["failure"] is None:
        assert np.isfinite(row["embedding"]).all()
        assert np.isfinite(row["score"])
    else:
        assert (row["embedding"], row["score"]) == ([], None)


def served(model, rows: list[dict]) -> pd.DataFrame:
    """Through what MLflow's server does to a request."""
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    answer = TestClient(init(model)).post("/invocations", json={"dataframe_records": rows})
    assert answer.status_code == 200, answer.text
    return pd.DataFrame(json.loads(answer.text)["predictions"])


def test_a_served_request_in_which_some_references_are_missing_is_answered_by_row(model):
    eye, other = (base64.b64encode(data).decode() for data in (EYE, OTHER_EYE))
    found = served(
        model,
        [
            {"image": eye, "modality": "iris", "reference": other},
            {"image": eye, "modality": "iris", "reference": None},
            {"image": eye, "modality": "iris", "reference": "some/path.bmp"},
            {"image": "bm8gaW1hZ2U=", "modality": "iris", "reference": other},
            {"image": eye, "modality": "voice", "reference": other},
            {"image": "some/path2.bmp", "modality": "iris", "reference": other},
            {"image": None, "modality": "iris", "reference": other},
            {"image": eye, "modality": None, "reference": None},
        ],
    )
    assert found["failure"].tolist()[2:] == [
        *("not_bytes", "not_an_image", "unknown_modality"),
        *("not_bytes", "not_bytes", "unknown_modality"),
    ]
    assert found["failure"][:2].isna().all()
    expected = asked(model, EYE, reference=OTHER_EYE)["score"][1]
    assert found["score"][0] == pytest.approx(expected)
    assert found["score"][1:].isna().all()


def test_the_example_that_lies_in_the_bundle_is_served(model):
    example = bundle.input_example()
    rows = [
        {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in row.items()}
        for row in example.to_dict("records")
    ]
    found = served(model, rows)
    assert found["failure"].isna().all()
    assert found["score"].notna().all()
