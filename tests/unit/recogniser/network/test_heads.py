import math

import pytest
import torch
import torch.nn.functional as functional

from biometric_core.recogniser.network.heads import ArcFaceHead, SoftmaxHead


def unit(*shape):
    return functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(1)), dim=1
    )


def test_arcface_adds_the_margin_to_the_angle_of_the_own_class():
    head = ArcFaceHead(8, 5, margin=0.4, scale=10)
    embeddings, labels = unit(6, 8), torch.arange(6) % 5
    plain, penalised = head(embeddings), head(embeddings, labels)
    angle = torch.acos(plain / 10)
    own = functional.one_hot(labels, 5).bool()
    assert (angle[own] < math.pi - 0.4).all()  # else the linear part is meant
    torch.testing.assert_close(penalised[own], 10 * torch.cos(angle[own] + 0.4))
    torch.testing.assert_close(penalised[~own], plain[~own])


def test_arcface_penalises_more_and_more_up_to_the_opposite_vector():
    head = ArcFaceHead(2, 1, margin=0.5, scale=1)
    head.weight.data = torch.tensor([[1.0, 0.0]])
    angles = torch.linspace(0, math.pi, 200)
    around = torch.stack([angles.cos(), angles.sin()], dim=1)
    logits = head(around, torch.zeros(200, dtype=torch.long))[:, 0]
    assert (logits.diff() < 1e-6).all()
    assert (logits <= head(around)[:, 0] + 1e-6).all()


def test_arcface_has_finite_gradients_on_its_own_centre():
    head = ArcFaceHead(4, 2, margin=0.3, scale=24)
    embeddings = functional.normalize(head.weight.detach(), dim=1).requires_grad_()
    head(embeddings, torch.arange(2)).sum().backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("head", [ArcFaceHead(8, 3, 0.0, 5.0), SoftmaxHead(8, 3, 5.0)])
def test_without_a_margin_labels_make_no_difference(head):
    embeddings = unit(4, 8)
    torch.testing.assert_close(head(embeddings), head(embeddings, torch.tensor([0, 1, 2, 0])))
