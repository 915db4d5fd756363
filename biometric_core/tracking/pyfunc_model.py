"""The model as MLflow serves it: one row in (an image), one row out. Copied into every bundle.

MLflow runs this file as source when a bundle is loaded, so a bundle holds no pickle; the package
itself lies beside it in the bundle's `code/`.
"""

import base64
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.recogniser import DECISION_FMR, FUSED, Recogniser
from biometric_core.schemas import Float32Array, Modality, Sample

_ARTIFACT = "recogniser"
_COLUMNS = ["embedding", "quality", "failure", "score", "accepted", "fused_score", "fused_accepted"]
_Row = tuple[Any, ...]
NOTHING_TO_COMPARE = "nothing_to_compare"
NOT_BYTES = "not_bytes"
UNKNOWN_MODALITY = "unknown_modality"
NOT_IN_MODEL = "modality_not_in_model"
NOT_TEXT = "comparison_not_text"


class RecogniserModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """Embeds images and, where a reference image is given, compares the two."""

    def load_context(self, context: Any) -> None:
        """Load the recogniser from the bundle."""
        self.recogniser = Recogniser.load(Path(context.artifacts[_ARTIFACT]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer one row for each image; what is wrong with one is its own failure.

        Args:
            context: unused.
            model_input: DataFrame; `image` (an encoded image's bytes, or base64 text of them, as
                JSON has it), `modality` (iris or fingerprint) and, optional, `reference` (likewise,
                of an image to compare with) and `comparison` (rows of equal text are the eyes and
                fingers of one comparison between two people; any of them may be missing).
            params: `fmr`, the false match rate of the decision threshold; 0.001 when left out.

        Returns:
            DataFrame: `embedding` (list of float, L2-normalised; empty on a failure), `quality` in
            [0, 1], `failure` (reason code or None), `score` (log-likelihood ratio or None),
            `accepted` (the score reaches the threshold; None without a score), `fused_score` (sum
            over the rows of the comparison that have one) and `fused_accepted`. A comparison of
            which no row has a score fails with `nothing_to_compare`.
        """
        del context
        fmr = float((params or {}).get("fmr", DECISION_FMR))
        references = model_input.get("reference", pd.Series([None] * len(model_input)))
        columns = zip(model_input["image"], model_input["modality"], references, strict=True)
        rows = [self._row(image, name, reference, fmr) for image, name, reference in columns]
        nothing = pd.Series([None] * len(model_input))
        rows = self._fused(rows, model_input.get("comparison", nothing).tolist(), fmr)
        return pd.DataFrame(rows, columns=_COLUMNS, dtype=object).astype({"quality": "float64"})

    def _fused(self, rows: list[_Row], comparisons: list[object], fmr: float) -> list[_Row]:
        """Add what the rows of each comparison say together; missing ones are never imputed."""
        totals: dict[str, float] = {}
        for (*_, score, _), name in zip(rows, comparisons, strict=True):
            if score is not None and isinstance(name, str) and name:
                totals[name] = totals.get(name, 0.0) + score
        threshold = self.recogniser.threshold(fmr, FUSED)
        fused: list[_Row] = []
        for row, name in zip(rows, comparisons, strict=True):
            embedding, quality, failure, score, accepted = row
            together = totals.get(name) if isinstance(name, str) else None
            if not isinstance(name, str) and not _missing(name):
                failure = failure or NOT_TEXT
            elif together is None and not _missing(name):
                failure = failure or NOTHING_TO_COMPARE
            passed = None if together is None else bool(together >= threshold)
            fused.append((embedding, quality, failure, score, accepted, together, passed))
        return fused

    def _row(self, image: object, name: object, reference: object, fmr: float) -> _Row:
        if not isinstance(name, str) or name not in set(Modality):
            return [], 0.0, UNKNOWN_MODALITY, None, None
        modality = Modality(name)
        if modality not in self.recogniser.modalities:
            return [], 0.0, NOT_IN_MODEL, None, None
        try:
            probe = self._acquire(image, modality)
            embedding = self._embed(probe, modality)[0].tolist()
            quality = float(probe.quality["overall"])
            if _missing(reference):
                return embedding, quality, None, None, None
            other = self._acquire(reference, modality)
        except (CaptureRefused, FailureToAcquire) as error:
            return [], 0.0, error.reason, None, None
        score = float(self.recogniser.compare_samples(modality, [probe], [other])[0, 0])
        accepted = bool(score >= self.recogniser.threshold(fmr, modality))
        return embedding, quality, None, score, accepted

    def _acquire(self, image: object, modality: Modality) -> Sample:
        return self.recogniser.acquire(_content(image), modality)

    def _embed(self, sample: Sample, modality: Modality) -> Float32Array:
        images, masks = sample.image[np.newaxis], sample.mask[np.newaxis]
        return self.recogniser.embed(modality, images, masks)


def _content(cell: object) -> bytes:
    """The bytes of an encoded image.

    Raises:
        CaptureRefused: `not_bytes`: neither bytes nor base64 text, a path for example.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, str):
        try:
            return base64.b64decode("".join(cell.split()), validate=True)
        except ValueError:
            pass
    raise CaptureRefused(NOT_BYTES, f"a {type(cell).__name__}: give the file's bytes")


def _missing(cell: Any) -> bool:
    """Whether there is nothing in an optional column: None, a missing value, or empty."""
    if isinstance(cell, bytes | bytearray | memoryview | str):
        return len(cell) == 0
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


mlflow.models.set_model(RecogniserModel())
