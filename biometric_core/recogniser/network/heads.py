"""Classification heads over training classes; they shape the embedding and are not compared with.

Both give logits for every class, so that a loss and closed-set figures need not know which it is.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from biometric_core.recogniser.network.spec import ModelSpec


class ArcFaceHead(nn.Module):
    """Additive angular margin softmax (Deng et al. 2019): cos(theta + m) for the own class."""

    def __init__(self, embedding_dim: int, classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, embedding_dim))
        nn.init.xavier_normal_(self.weight)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits, with the margin taken off the labelled class when labels are given.

        Args:
            embeddings: float32 (N, D), of length 1.
            labels: int64 (N,), or None at inference.

        Returns:
            float32 (N, classes): scaled cosines.
        """
        cosine = embeddings @ functional.normalize(self.weight, dim=1).T
        if labels is None:
            return self.scale * cosine
        own = cosine.gather(1, labels[:, None])
        sine = (1 - own.square()).clamp(min=1e-7).sqrt()
        shifted = own * math.cos(self.margin) - sine * math.sin(self.margin)
        # Past pi - m the cosine would rise again: go on linearly, as the authors do.
        linear = own - self.margin * math.sin(self.margin)
        penalised = torch.where(own > -math.cos(self.margin), shifted, linear)
        return self.scale * cosine.scatter(1, labels[:, None], penalised)


class SoftmaxHead(nn.Module):
    """A linear layer over scaled embeddings."""

    def __init__(self, embedding_dim: int, classes: int, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_dim, classes)
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """float32 (N, D) to logits float32 (N, classes); labels make no difference."""
        del labels
        logits: Tensor = self.linear(self.scale * embeddings)
        return logits


def make_head(spec: ModelSpec, classes: int) -> ArcFaceHead | SoftmaxHead:
    """The head that `spec` asks for, over `classes` classes."""
    if spec.head == "arcface":
        return ArcFaceHead(spec.embedding_dim, classes, spec.margin, spec.scale)
    return SoftmaxHead(spec.embedding_dim, classes, spec.scale)
