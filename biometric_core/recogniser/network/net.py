"""The whole network: captures to embeddings, embeddings to one fused vector, both to classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from biometric_core.errors import ModelError
from biometric_core.recogniser.network.branches import Branch, standardise
from biometric_core.recogniser.network.fusion import make_fusions
from biometric_core.recogniser.network.heads import make_head
from biometric_core.recogniser.network.spec import ModelSpec, variants
from biometric_core.schemas import Modality

ORDER = tuple(Modality)  # places of the modalities in `present` and in the fusion


@dataclass(frozen=True)
class TrainingBatch:
    """Rows of a training step; a row is a subject with at most one capture of each modality.

    Attributes:
        prepared: by modality, float32 (n, 2, h, w): standardised and augmented captures.
        rows: by modality, int64 (n,): the row of each capture.
        identities: by modality, int64 (n,): class of each capture, see `identity_logits`.
        subjects: int64 (B,): the subject class of each row.
        fused: bool (B, M): which of the row's captures the fused head is shown, in `ORDER`.
    """

    prepared: Mapping[Modality, Tensor]
    rows: Mapping[Modality, Tensor]
    identities: Mapping[Modality, Tensor]
    subjects: Tensor
    fused: Tensor


class BiometricNet(nn.Module):
    """Branches, fusion and heads as `spec` says."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.branches = nn.ModuleDict(
            {m.value: Branch(m, spec.width, spec.embedding_dim) for m in spec.modalities}
        )
        self.identity_heads = nn.ModuleDict(
            {m.value: make_head(spec, spec.identities[m] * variants(m)) for m in spec.modalities}
        )
        # All kinds learn from the same embeddings, so that a report can say which one to take.
        self.fusions = make_fusions(spec)
        self.subject_heads = nn.ModuleDict(
            {kind: make_head(spec, spec.subjects) for kind in self.fusions}
        )

    def encode(self, modality: Modality, prepared: Tensor) -> Tensor:
        """Embed captures that `standardise` prepared, float32 (N, 2, h, w) to (N, D).

        Raises:
            ModelError: the network was trained without this modality.
        """
        if modality.value not in self.branches:
            known = ", ".join(self.branches)
            raise ModelError(
                f"this model knows {known}, not {modality.value}: train with captures of it"
            )
        return cast(Tensor, self.branches[modality.value](prepared))

    def embed(self, modality: Modality, images: Tensor, masks: Tensor) -> Tensor:
        """Embed captures.

        Args:
            modality: what the captures show.
            images: (N, H, W), uint8 or float.
            masks: (N, H, W), above zero where usable.

        Returns:
            float32 (N, D), each of length 1: compare by cosine.

        Raises:
            ModelError: the network was trained without this modality.
        """
        return self.encode(modality, standardise(modality, images, masks))

    def fuse(
        self, iris: Tensor, fingerprint: Tensor, present: Tensor, kind: str | None = None
    ) -> Tensor:
        """Fuse embeddings of the same rows.

        Args:
            iris: float32 (N, D); any value where absent.
            fingerprint: float32 (N, D); any value where absent.
            present: bool (N, 2): iris, fingerprint.
            kind: one of `spec.FUSIONS`; the specified one when None.

        Returns:
            float32 (N, D), each of length 1.

        Raises:
            ValueError: a row has neither.
        """
        fusion = self.fusions[kind or self.spec.fusion]
        return cast(Tensor, fusion(torch.stack([iris, fingerprint], dim=1), present))

    def identity_logits(
        self, modality: Modality, embeddings: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """float32 (N, identities * variants); with labels, the margin is taken off.

        Class `v * identities + i` is variant `v` (`spec.variants`) of identity `i`.
        """
        return cast(Tensor, self.identity_heads[modality.value](embeddings, labels))

    def subject_logits(
        self, fused: Tensor, labels: Tensor | None = None, kind: str | None = None
    ) -> Tensor:
        """float32 (N, subjects) from fused vectors; with labels, the margin is taken off."""
        return cast(Tensor, self.subject_heads[kind or self.spec.fusion](fused, labels))

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """The losses of a training step: `<modality>` and `subject`, each a mean cross-entropy.

        Only what is present contributes; the sum is what the optimiser follows.
        """
        losses: dict[str, Tensor] = {}
        places: list[Tensor] = []
        size = (len(batch.subjects), self.spec.embedding_dim)
        for modality in ORDER:
            place = batch.subjects.new_zeros(size, dtype=torch.float32)
            if modality in batch.prepared:
                embeddings = self.encode(modality, batch.prepared[modality])
                labels = batch.identities[modality]
                logits = self.identity_logits(modality, embeddings, labels)
                losses[modality.value] = functional.cross_entropy(logits, labels)
                place = place.index_put((batch.rows[modality],), embeddings)
            places.append(place)
        shown = batch.fused.any(dim=1)
        if bool(shown.any()):
            losses["subject"] = self._subject_loss(
                places[0][shown], places[1][shown], batch.fused[shown], batch.subjects[shown]
            )
        # A worker whose share holds nothing must still take part in the exchange of gradients.
        return losses or {"subject": 0.0 * self.identity_logits(*self._nothing()).sum()}

    def _subject_loss(
        self, iris: Tensor, fingerprint: Tensor, present: Tensor, subjects: Tensor
    ) -> Tensor:
        """Mean over the kinds of fusion."""
        parts = []
        for kind in self.fusions:
            fused = self.fuse(iris, fingerprint, present, kind)
            logits = self.subject_logits(fused, subjects, kind)
            parts.append(functional.cross_entropy(logits, subjects))
        return torch.stack(parts).mean()

    def _nothing(self) -> tuple[Modality, Tensor]:
        first = self.spec.modalities[0]
        return first, next(self.parameters()).new_zeros(1, self.spec.embedding_dim)
