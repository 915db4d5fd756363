"""Feature-level fusion of the modalities that are present; an absent one takes no part at all.

Each takes embeddings float32 (N, M, D) and `present` bool (N, M) and gives float32 (N, D) of
length 1. Whatever stands in an absent modality's place, NaN included, changes nothing.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from biometric_core.recogniser.network.spec import FUSIONS, ModelSpec
from biometric_core.schemas import Modality

ATTENTION_HEADS = 4


def checked(embeddings: Tensor, present: Tensor) -> Tensor:
    """The embeddings with absent places cleared, so that no NaN there can spread.

    Raises:
        ValueError: a row has no modality at all.
    """
    if not bool(present.any(dim=1).all()):
        raise ValueError("fusion needs at least one modality in every row")
    return embeddings.masked_fill(~present[..., None], 0.0)


class ConcatFusion(nn.Module):
    """A two-layer network over the concatenation.

    The first layer is written as one matrix per modality: the blocks of absent modalities are left
    out of the sum, and the rest is scaled up by M / (number present), as dropout does.
    """

    def __init__(self, modalities: int, embedding_dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Linear(embedding_dim, embedding_dim, bias=False) for _ in range(modalities)
        )
        self.bias = nn.Parameter(torch.zeros(embedding_dim))
        self.out = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """See the module."""
        cleared = checked(embeddings, present)
        parts = torch.stack([block(cleared[:, i]) for i, block in enumerate(self.blocks)])
        share = present.sum(dim=1, keepdim=True) / present.shape[1]
        hidden = functional.relu(parts.sum(dim=0) / share + self.bias)
        return functional.normalize(self.out(hidden), dim=1)


class AttentionFusion(nn.Module):
    """A learned query attends to one token per modality (Vaswani et al. 2017)."""

    def __init__(self, modalities: int, embedding_dim: int) -> None:
        super().__init__()
        heads = ATTENTION_HEADS if embedding_dim % ATTENTION_HEADS == 0 else 1
        self.query = nn.Parameter(torch.randn(1, 1, embedding_dim) / embedding_dim**0.5)
        self.kind = nn.Parameter(torch.randn(modalities, embedding_dim) / embedding_dim**0.5)
        self.attention = nn.MultiheadAttention(embedding_dim, heads, batch_first=True)
        self.out = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """See the module."""
        tokens = checked(embeddings, present) + self.kind
        query = self.query.expand(len(tokens), -1, -1)
        mixed, _ = self.attention(
            query, tokens, tokens, key_padding_mask=~present, need_weights=False
        )
        return functional.normalize(self.out(mixed[:, 0]), dim=1)


class WeightedSumFusion(nn.Module):
    """A convex combination; weights come from each embedding and a learned prior per modality."""

    def __init__(self, modalities: int, embedding_dim: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(embedding_dim, 1) for _ in range(modalities))
        self.projections = nn.ModuleList(
            nn.Linear(embedding_dim, embedding_dim, bias=False) for _ in range(modalities)
        )

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """See the module."""
        cleared = checked(embeddings, present)
        gates = torch.cat([gate(cleared[:, i]) for i, gate in enumerate(self.gates)], dim=1)
        weights = gates.masked_fill(~present, float("-inf")).softmax(dim=1)
        parts = [layer(cleared[:, i]) for i, layer in enumerate(self.projections)]
        return functional.normalize(
            (torch.stack(parts, dim=1) * weights[..., None]).sum(dim=1), dim=1
        )


def make_fusions(spec: ModelSpec) -> nn.ModuleDict:
    """One of each kind, with one place for every `Modality`."""
    kinds = {
        "concat": ConcatFusion,
        "attention": AttentionFusion,
        "weighted_sum": WeightedSumFusion,
    }
    return nn.ModuleDict({kind: kinds[kind](len(Modality), spec.embedding_dim) for kind in FUSIONS})
