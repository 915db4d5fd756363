"""The model as MLflow serves it: one row in (an image), one row out. Copied into every bundle.

MLflow runs this file as source when a bundle is loaded, so a bundle holds no pickle; the package
itself lies beside it in the bundle's `code/`.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from biometric_core.errors import CaptureRefused, FailureToAcquire
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Float32Array, Modality, Sample

_ARTIFACT = "recogniser"
_DEFAULT_FMR = 0.001


class RecogniserModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """Embeds images and, where a reference image is given, compares the two."""

    def load_context(self, context: Any) -> None:
        """Load the recogniser from the bundle."""
        self.recogniser = Recogniser.load(Path(context.artifacts[_ARTIFACT]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer one row for each image.

        Args:
            context: unused.
            model_input: DataFrame; `image` (an encoded image's bytes), `modality` (iris or
                fingerprint) and, optional, `reference` (the bytes of an image to compare with).
            params: `fmr`, the false match rate of the decision threshold; 0.001 when left out.

        Returns:
            DataFrame: `embedding` (list of float, L2-normalised; empty on a failure), `quality` in
            [0, 1], `failure` (reason code or None), `score` (log-likelihood ratio or None) and
            `accepted` (the score reaches the threshold; None without a score).
        """
        del context
        fmr = float((params or {}).get("fmr", _DEFAULT_FMR))
        references = model_input.get("reference", pd.Series([None] * len(model_input)))
        columns = zip(model_input["image"], model_input["modality"], references, strict=True)
        rows = [self._row(image, name, reference, fmr) for image, name, reference in columns]
        names = ["embedding", "quality", "failure", "score", "accepted"]
        return pd.DataFrame(rows, columns=names, dtype=object).astype({"quality": "float64"})

    def _row(self, image: bytes, name: str, reference: object, fmr: float) -> tuple[Any, ...]:
        try:
            modality = Modality(name)
            probe = self._acquire(image, modality)
            embedding = self._embed(probe, modality)[0].tolist()
            quality = float(probe.quality["overall"])
            if not isinstance(reference, bytes) or not reference:
                return embedding, quality, None, None, None
            other = self._acquire(reference, modality)
        except ValueError:
            return [], 0.0, "unknown_modality", None, None
        except (CaptureRefused, FailureToAcquire) as error:
            return [], 0.0, error.reason, None, None
        score = float(self.recogniser.compare_samples(modality, [probe], [other])[0, 0])
        accepted = bool(score >= self.recogniser.threshold(fmr, modality))
        return embedding, quality, None, score, accepted

    def _acquire(self, image: bytes, modality: Modality) -> Sample:
        return self.recogniser.acquire(bytes(image), modality)

    def _embed(self, sample: Sample, modality: Modality) -> Float32Array:
        images, masks = sample.image[np.newaxis], sample.mask[np.newaxis]
        return self.recogniser.embed(modality, images, masks)


mlflow.models.set_model(RecogniserModel())
