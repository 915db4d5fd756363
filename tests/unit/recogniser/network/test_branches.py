import pytest
import torch

from biometric_core.recogniser.network.branches import INPUT_SHAPES, Branch, standardise
from biometric_core.schemas import Modality


@pytest.fixture
def capture():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 64, 512), dtype=torch.uint8, generator=generator)
    masks = torch.zeros_like(images)
    masks[:, 10:50, 40:400] = 255
    return images, masks


def test_standardise_gives_zero_mean_and_unit_variance_over_the_mask(capture):
    image, mask = standardise(Modality.IRIS, *capture).unbind(1)
    usable = mask > 0.99
    assert image[usable].mean().abs() < 0.05
    assert (image[usable].std() - 1).abs() < 0.1
    assert (image[mask == 0] == 0).all()


def test_standardise_ignores_light_and_what_is_masked(capture):
    images, masks = capture
    brighter = images.float() * 0.5 + 60
    brighter[masks == 0] = 255
    expected = standardise(Modality.IRIS, images, masks)
    torch.testing.assert_close(
        standardise(Modality.IRIS, brighter, masks), expected, atol=1e-4, rtol=0
    )


def test_standardise_is_finite_on_a_blank_or_wholly_masked_capture():
    blank = torch.full((2, 64, 512), 7, dtype=torch.uint8)
    for masks in (torch.zeros_like(blank), torch.full_like(blank, 255)):
        prepared = standardise(Modality.IRIS, blank, masks)
        assert torch.isfinite(prepared).all()
        assert (prepared[:, 0].abs() < 1e-3).all()


@pytest.mark.parametrize("modality", list(Modality))
def test_a_branch_gives_vectors_of_length_one(modality):
    branch = Branch(modality, width=4, embedding_dim=24)
    embeddings = branch(torch.randn(3, 2, *INPUT_SHAPES[modality]))
    assert embeddings.shape == (3, 24)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def test_a_branch_keeps_where_along_the_circle_a_texture_lies():
    torch.manual_seed(0)
    branch = Branch(Modality.IRIS, width=4, embedding_dim=24)
    eyes = torch.randn(16, 2, 64, 256)
    same, turned = branch(torch.cat([eyes, eyes.roll(128, dims=3)])).chunk(2)
    # A network that pools the angle away would give cosines of almost 1.
    assert (same * turned).sum(1).mean() < 0.5
