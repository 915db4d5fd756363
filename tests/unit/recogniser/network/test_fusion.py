import pytest
import torch
import torch.nn.functional as functional

from biometric_core.recogniser.network import ModelSpec
from biometric_core.recogniser.network.fusion import make_fusions
from biometric_core.recogniser.network.spec import FUSIONS


@pytest.fixture(params=FUSIONS)
def fusion(request):
    torch.manual_seed(5)
    spec = ModelSpec(
        shapes={"iris": (64, 512)}, identities={"iris": 2}, subjects=2, embedding_dim=16
    )
    return make_fusions(spec)[request.param].eval()


@pytest.fixture
def embeddings():
    return functional.normalize(torch.randn(4, 2, 16), dim=2)


def test_gives_vectors_of_length_one(fusion, embeddings):
    fused = fusion(embeddings, torch.ones(4, 2, dtype=torch.bool))
    torch.testing.assert_close(fused.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("junk", [0.0, 7.0, float("nan"), float("inf")])
def test_what_stands_in_an_absent_place_changes_nothing(fusion, embeddings, junk):
    present = torch.tensor([[True, False], [False, True], [True, True], [True, False]])
    expected = fusion(embeddings, present)
    disturbed = embeddings.masked_fill(~present[..., None], junk)
    torch.testing.assert_close(fusion(disturbed, present), expected)
    assert torch.isfinite(expected).all()


def test_refuses_a_row_with_nothing(fusion, embeddings):
    with pytest.raises(ValueError, match="at least one"):
        fusion(embeddings, torch.tensor([[True, True], [False, False], [True, True], [True, True]]))


def test_absent_places_get_no_gradient(fusion, embeddings):
    embeddings.requires_grad_()
    present = torch.tensor([[True, False]]).expand(4, 2)
    fusion(embeddings, present).square().mul(torch.arange(16)).sum().backward()
    assert (embeddings.grad[:, 1] == 0).all()
    assert (embeddings.grad[:, 0] != 0).any()
