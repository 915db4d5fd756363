import numpy as np
import pytest
import torch

from biometric_core.recogniser.network.branches import INPUT_SHAPES, standardise
from biometric_core.recogniser.network.spec import variants
from biometric_core.schemas import Modality
from biometric_core.training.augmentation import augment, draw_variants

SHAPES = {Modality.IRIS: (64, 512), Modality.FINGERPRINT: (224, 224)}


def captures(modality, count=6, masked=0):
    """The same texture `count` times, the first columns masked."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(
        1, 1, SHAPES[modality][0] // 4, SHAPES[modality][1] // 4, generator=generator
    )
    image = torch.nn.functional.interpolate(coarse * 255, size=SHAPES[modality], mode="bilinear")
    images = image[0].to(torch.uint8).repeat(count, 1, 1)
    masks = torch.full_like(images, 255)
    images[:, :, :masked], masks[:, :, :masked] = 128, 0
    return images, masks


def plain(count):
    return torch.zeros(count, dtype=torch.int64)


@pytest.mark.parametrize("modality", list(Modality))
def test_each_capture_is_distorted_in_its_own_way(modality):
    seed = torch.Generator().manual_seed(0)
    out = augment(modality, *captures(modality, 40), plain(40), seed)
    assert out.shape == (40, 2, *INPUT_SHAPES[modality])
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    for i in range(1, 40):
        assert (out[0] - out[i]).abs().max() > 0.1


@pytest.mark.parametrize("modality", list(Modality))
def test_the_generator_alone_decides(modality):
    source = captures(modality)
    torch.manual_seed(1)
    first = augment(modality, *source, plain(6), torch.Generator().manual_seed(9))
    state = torch.random.get_rng_state()
    second = augment(modality, *source, plain(6), torch.Generator().manual_seed(9))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("modality", list(Modality))
def test_what_is_masked_stays_dark_and_the_source_untouched(modality):
    images, masks = captures(modality, masked=SHAPES[modality][1] // 2)
    before = images.clone(), masks.clone()
    out = augment(modality, images, masks, plain(6), torch.Generator().manual_seed(2))
    image, mask = out.unbind(1)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])
    assert (image[mask == 0] == 0).all()
    assert set(mask.unique().tolist()) == {0, 1}
    assert 0.1 < mask.mean() < 0.6


@pytest.mark.parametrize("modality", list(Modality))
def test_distorted_captures_have_the_level_of_standardised_ones(modality):
    source = captures(modality, 48)
    expected = standardise(modality, *source)
    out = augment(modality, *source, plain(48), torch.Generator().manual_seed(4))
    usable = out[:, 1] > 0
    assert abs(out[:, 0][usable].mean() - expected[:, 0].mean()) < 0.15
    assert abs(out[:, 0][usable].std() - expected[:, 0].std()) < 0.25


def test_half_of_the_captures_stay_themselves():
    drawn = draw_variants(Modality.IRIS, 4000, torch.Generator().manual_seed(0))
    assert 0.45 < (drawn == 0).float().mean() < 0.55
    assert set(drawn.tolist()) == set(range(variants(Modality.IRIS)))


def test_noise_differs_from_capture_to_capture():
    flat = torch.full((16, 224, 224), 128, dtype=torch.uint8)
    seed = torch.Generator().manual_seed(0)
    out = augment(Modality.FINGERPRINT, flat, torch.full_like(flat, 255), plain(16), seed)[:, 0]
    rough = (out[:, 1:-1, 1:-1] - out[:, :-2, 1:-1]).flatten(1).numpy()
    likeness = np.abs(np.corrcoef(rough[rough.std(axis=1) > 0.05])) - np.eye(
        (rough.std(axis=1) > 0.05).sum()
    )
    assert likeness.max() < 0.5
