"""The recogniser: everything from an image file's bytes to a calibrated score, as one saved thing.

It is what training makes, the registry keeps, and every later stage uses.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.data.capture_sets import CaptureSet, Images
from biometric_core.errors import ModelError
from biometric_core.imaging.fingerprint import minutiae
from biometric_core.imaging.iris import phase_code
from biometric_core.imaging.preparation import prepare, version_of
from biometric_core.matching.calibration import Calibration
from biometric_core.matching.gallery import Encoded, Gallery, fused_gallery, modality_gallery
from biometric_core.matching.templates import Embeddings, Templates
from biometric_core.recogniser import files, kept_minutiae
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.recogniser.network.spec import FUSIONS
from biometric_core.schemas import Float32Array, Modality, Sample

FUSED = "fused"
DECISION_FMR = 0.001
"""The false match rate that decisions are taken at where nobody names another one."""
_CODE_DEFAULTS = {Modality.FINGERPRINT: Calibration(minutiae.DEFAULT_WEIGHT, minutiae.DEFAULT_BIAS)}


@dataclass(frozen=True)
class Recogniser:
    """A trained network with its calibration, decision thresholds and preprocessing.

    Attributes:
        spec: how to build the network.
        net: the network, in evaluation mode, on the CPU.
        calibration: cosine to log-likelihood ratio, by modality.
        thresholds: by modality and `fused`: LLR threshold by FMR, as measured on validation
            subjects; an FMR that they could not carry is absent.
        subjects: training subjects, the classes of the closed-set head, in order.
        settings: shapes of prepared captures.
        preprocess_version: captures must be prepared by this version.
        limits: what `acquire` accepts as an image.
        code_calibration: similarity to log-likelihood ratio of a modality's second encoder.
        minutiae: fingerprints are compared by their minutiae as well.
    """

    spec: ModelSpec
    net: BiometricNet
    calibration: Mapping[Modality, Calibration]
    thresholds: Mapping[str, Mapping[float, float]]
    subjects: tuple[str, ...]
    settings: Preprocess
    preprocess_version: str
    limits: Ingest = field(default_factory=Ingest)
    code_calibration: Mapping[Modality, Calibration] = field(default_factory=dict)
    minutiae: bool = True

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What this recogniser was trained on."""
        return self.spec.modalities

    @property
    def prepares_here(self) -> bool:
        """Whether this code prepares captures as the model needs them; else its bundle's does."""
        return version_of(self.settings) == self.preprocess_version

    @property
    def other_fusions(self) -> tuple[str, ...]:
        """The kinds of feature fusion that were trained beside the specified one."""
        return tuple(kind for kind in FUSIONS if kind != self.spec.fusion)

    def acquire(self, data: bytes, modality: Modality) -> Sample:
        """Decode and prepare an image file.

        Raises:
            ModelError: the model needs what only the code in its bundle makes.
            CaptureRefused: the bytes are no acceptable image.
            FailureToAcquire: the image holds no usable iris or fingerprint.
        """
        if not self.prepares_here:
            raise ModelError(
                f"the model needs captures prepared as {self.preprocess_version}, this code makes "
                f"{version_of(self.settings)}: load its bundle in a process that has not imported "
                "another biometric_core"
            )
        return prepare(data, modality, self.settings, self.limits)

    def embed(
        self, modality: Modality, images: Images, masks: Images, batch: int = 256
    ) -> Float32Array:
        """Embed prepared captures.

        Args:
            modality: what they show.
            images: uint8, (N, H, W), as `acquire` makes them.
            masks: uint8, (N, H, W).
            batch: captures at a time.

        Returns:
            float32, (N, D), each of length 1.

        Raises:
            ModelError: the model doesn't know the modality, or gives numbers that are not finite.
            ValueError: shapes differ from what the model was trained on.
        """
        if modality in self.spec.shapes:
            expected = (len(images), *self.spec.shapes[modality])
            if images.shape != expected or masks.shape != expected:
                raise ValueError(f"{modality} {images.shape}, {masks.shape}: expected {expected}")
        parts = [np.zeros((0, self.spec.embedding_dim), dtype=np.float32)]
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                rows = slice(start, start + batch)
                tensors = (torch.from_numpy(np.array(array[rows])) for array in (images, masks))
                parts.append(self.net.embed(modality, *tensors).float().numpy())
        embeddings = np.concatenate(parts)
        if not np.isfinite(embeddings).all():
            raise ModelError("the network gives numbers that are not finite: train again")
        return embeddings

    def embed_set(self, captures: CaptureSet) -> Float32Array:
        """Embed a capture set, float32 (N, D); see `embed`."""
        return self.embed(captures.modality, captures.images, captures.masks)

    def compare(
        self, modality: Modality, probes: Float32Array, references: Float32Array
    ) -> Float32Array:
        """Log-likelihood ratios by the embeddings alone, all probes against all references.

        One matrix product. Decisions are taken on `compare_samples`, which adds the second encoder.

        Args:
            modality: what both show.
            probes: float32, (N, D), each of length 1.
            references: float32, (M, D), each of length 1 (a mean of embeddings needs scaling).

        Returns:
            float32, (N, M); above zero speaks for the same identity.
        """
        calibration = self.calibration[modality]
        scores = np.asarray(probes @ references.T, dtype=np.float32)
        scores *= np.float32(calibration.weight)
        scores += np.float32(calibration.bias)
        return scores

    def codes(self, modality: Modality, images: Images, masks: Images) -> tuple[Templates, ...]:
        """What the encoders that are not learned make of captures."""
        if modality is Modality.IRIS:
            return (phase_code.encode(images, masks),)
        return (minutiae.encode(images, masks),) if self.minutiae else ()

    def weighed(self, modality: Modality, templates: Sequence[Templates]) -> tuple[Encoded, ...]:
        """Templates of the learned encoder, then of the other, with their calibrations."""
        default = _CODE_DEFAULTS.get(modality, Calibration())
        calibrations = (
            self.calibration.get(modality, Calibration()),
            self.code_calibration.get(modality, default),
        )
        both = zip(templates, calibrations, strict=False)  # there may be no second encoder
        return tuple(Encoded(made, each.weight, each.bias) for made, each in both)

    def templates(
        self,
        captures: CaptureSet,
        embeddings: Float32Array | None = None,
        codes: Sequence[Templates] = (),
    ) -> tuple[Templates, ...]:
        """Templates of all encoders, the learned one first.

        Args:
            captures: N prepared captures.
            embeddings: float32 (N, D) of the same captures, where they are known.
            codes: what the encoders that are not learned made of them, where it is known.

        Raises:
            ValueError: embeddings or codes don't fit the captures or are not finite.
        """
        vectors = self.embed_set(captures) if embeddings is None else embeddings
        if vectors.ndim != 2 or len(vectors) != len(captures) or not np.isfinite(vectors).all():
            raise ValueError(f"embeddings {vectors.shape} do not fit {len(captures)} captures")
        if any(len(code) != len(captures) for code in codes):
            raise ValueError(f"codes do not fit {len(captures)} captures")
        return (Embeddings(vectors), *self._coded(captures, codes))

    def _coded(self, captures: CaptureSet, known: Sequence[Templates]) -> Sequence[Templates]:
        if captures.modality is Modality.FINGERPRINT and not self.minutiae:
            return ()
        if known:
            return known
        if captures.modality is Modality.FINGERPRINT:
            return (kept_minutiae.encode(captures),)
        return self.codes(captures.modality, captures.images, captures.masks)

    def galleries(
        self,
        sets: Mapping[Modality, CaptureSet],
        embeddings: Mapping[Modality, Float32Array],
        codes: Mapping[Modality, Sequence[Templates]] | None = None,
    ) -> dict[str, Gallery]:
        """What is compared, by modality and `fused`: log-likelihood ratios of all encoders summed.

        Args:
            sets: captures by modality.
            embeddings: float32 (N, D) of the same captures.
            codes: see `templates`.
        """
        known = codes or {}
        templates = {m: self.templates(s, embeddings[m], known.get(m, ())) for m, s in sets.items()}
        return self.compared(sets, templates)

    def compared(
        self, sets: Mapping[Modality, CaptureSet], templates: Mapping[Modality, Sequence[Templates]]
    ) -> dict[str, Gallery]:
        """As `galleries`, of templates that were made before."""
        encoders = {m: tuple(one.compared() for one in self.weighed(m, templates[m])) for m in sets}
        result = {m.value: modality_gallery(sets[m], found) for m, found in encoders.items()}
        return {**result, FUSED: fused_gallery(sets, encoders)}

    def compare_samples(
        self, modality: Modality, probes: Sequence[Sample], references: Sequence[Sample]
    ) -> Float32Array:
        """Log-likelihood ratios by all encoders, float32 (N, M), of prepared captures."""
        images, masks = (
            [np.stack([getattr(sample, name) for sample in side]) for side in (probes, references)]
            for name in ("image", "mask")
        )
        left, right = (
            self.weighed(
                modality, (Embeddings(self.embed(modality, *side)), *self.codes(modality, *side))
            )
            for side in zip(images, masks, strict=True)
        )
        scores = [
            a.weight * a.templates.similarities(b.templates) + a.bias
            for a, b in zip(left, right, strict=True)
        ]
        return np.asarray(np.sum(scores, axis=0), np.float32)

    def threshold(self, fmr: float, modality: Modality | str | None = None) -> float:
        """The LLR from which a comparison is accepted at a false match rate.

        Measured on validation subjects where they carry the FMR (the next stricter one measured);
        else the bound of calibrated ratios: P(LLR >= t | non-mated) <= exp(-t), so t = -ln(FMR).

        Args:
            fmr: in (0, 1).
            modality: a modality, or `fused` for sums; the strictest of the modalities when None.

        Raises:
            ValueError: the FMR is not in (0, 1).
        """
        if not 0 < fmr < 1:
            raise ValueError(f"a false match rate lies between 0 and 1, got {fmr}")
        if modality is None:
            return max(self.threshold(fmr, known) for known in self.modalities)
        measured = self.thresholds.get(str(modality), {})
        stricter = [rate for rate in measured if rate <= fmr * (1 + 1e-9)]
        return measured[max(stricter)] if stricter else -math.log(fmr)

    def claim_threshold(self, modality: Modality) -> float:
        """The LLR below which a capture's claim to be of somebody is rejected.

        That of decisions at `DECISION_FMR`, but never above 0, from where on the ratio speaks for
        the claim: a model of few validation people or weak fingers has thresholds that hardly
        anybody reaches, and then nearly all true claims would count as an impostor's.
        """
        return min(self.threshold(DECISION_FMR, modality), 0.0)

    def closed_set(
        self, embeddings: Mapping[Modality, Float32Array], present: npt.NDArray[np.bool_]
    ) -> Float32Array:
        """Probability of each training subject, from the feature-level fusion and its head.

        Args:
            embeddings: by modality, float32 (N, D); rows of absent captures are not looked at. A
                modality may be left out.
            present: bool, (N, 2): iris, fingerprint; at least one in each row.

        Returns:
            float32, (N, S), rows sum to 1; columns in the order of `subjects`.
        """
        with torch.inference_mode():
            logits = self.net.subject_logits(self._fused(embeddings, present))
            return np.asarray(logits.softmax(dim=1).numpy(), dtype=np.float32)

    def fuse(
        self,
        embeddings: Mapping[Modality, Float32Array],
        present: npt.NDArray[np.bool_],
        kind: str | None = None,
    ) -> Float32Array:
        """Feature-level fusion, float32 (N, D) of length 1.

        Args:
            embeddings: as in `closed_set`.
            present: as in `closed_set`.
            kind: one of `spec.FUSIONS`; the model's own when None.
        """
        with torch.inference_mode():
            return np.asarray(self._fused(embeddings, present, kind).numpy(), dtype=np.float32)

    def _fused(
        self,
        embeddings: Mapping[Modality, Float32Array],
        present: npt.NDArray[np.bool_],
        kind: str | None = None,
    ) -> Tensor:
        absent = np.zeros((len(present), self.spec.embedding_dim), dtype=np.float32)
        iris, fingerprint = (
            torch.from_numpy(np.ascontiguousarray(embeddings.get(modality, absent)))
            for modality in (Modality.IRIS, Modality.FINGERPRINT)
        )
        return self.net.fuse(iris, fingerprint, torch.from_numpy(present), kind)

    def save(self, folder: Path) -> None:
        """Write the recogniser as files (`files`), each in one rename."""
        files.write(folder, vars(self))

    @classmethod
    def load(cls, folder: Path) -> "Recogniser":
        """Read what `save` wrote.

        Raises:
            ModelError: a file is missing, damaged, of another kind, or a pickle (never executed).
        """
        return cls(**files.read(folder))


def with_own_shapes(config: Config, recogniser: Recogniser) -> Config:
    """To work as configured, but for the shapes: captures get those the model was trained on."""
    shapes = recogniser.settings.model_dump(include={"iris_shape", "fingerprint_shape"})
    section = config.preprocess.model_copy(update=shapes)
    return config.model_copy(update={"preprocess": section})
