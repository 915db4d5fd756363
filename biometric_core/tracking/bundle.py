"""A trained recogniser as one MLflow bundle that loads in a fresh process, without a pickle."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import biometric_core
from biometric_core.provenance import REQUIREMENTS

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

FOLDER = "model"
MODEL_CARD = "model_card.md"
_EXAMPLE_SEEDS = (1, 2)


def requirements() -> list[str]:
    """The packages a bundle needs, pinned as installed here: `numpy==2.4.6`."""
    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def write(recogniser: Path, target: Path) -> None:
    """Write the bundle of a recogniser.

    Args:
        recogniser: folder that `Recogniser.save` wrote.
        target: folder to make; it must not exist.
    """
    import mlflow

    mlflow.pyfunc.save_model(
        path=target,
        python_model=Path(__file__).with_name("pyfunc_model.py"),
        artifacts={"recogniser": str(recogniser)},
        code_paths=[str(Path(biometric_core.__file__).parent)],
        signature=signature(),
        input_example=input_example(),
        pip_requirements=requirements(),
        metadata={"biometric_core": biometric_core.__version__},
    )


def signature() -> "ModelSignature":
    """Columns in, columns out, and the `fmr` parameter; see `pyfunc_model.RecogniserModel`.

    Images are bytes, but not of MLflow's type `binary`: of that its server decodes a whole column
    before the model is asked, and one row without an image would be the refusal of all.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    from biometric_core.recogniser import DECISION_FMR

    optional: dict[str, Any] = {"required": False}
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(AnyType(), "image"),
                ColSpec(DataType.string, "modality"),
                ColSpec(AnyType(), "reference", **optional),
                ColSpec(DataType.string, "comparison", **optional),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array(DataType.double), "embedding"),
                ColSpec(DataType.double, "quality"),
                ColSpec(DataType.string, "failure", **optional),
                ColSpec(DataType.double, "score", **optional),
                ColSpec(DataType.boolean, "accepted", **optional),
                ColSpec(DataType.double, "fused_score", **optional),
                ColSpec(DataType.boolean, "fused_accepted", **optional),
            ]
        ),
        params=ParamSchema([ParamSpec("fmr", DataType.double, DECISION_FMR)]),
    )


def input_example() -> "pd.DataFrame":
    """One row with a generated eye, nobody's data."""
    import cv2
    import pandas as pd

    from biometric_core.sources.generator.eye_captures import render_eye

    image = cv2.imencode(".png", render_eye(*_EXAMPLE_SEEDS)[0])[1].tobytes()
    return pd.DataFrame({"image": [image], "modality": ["iris"], "reference": [image]})
