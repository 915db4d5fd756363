import pytest
import torch

from biometric_core.augment import _warp_iris, augment, draw_variants, vary
from biometric_core.models.branches import INPUT_SHAPES
from biometric_core.models.spec import variants
from biometric_core.schemas import Modality


def prepared(modality, count=6):
    one = torch.randn(1, 2, *INPUT_SHAPES[modality], generator=torch.Generator().manual_seed(3))
    one[:, 1] = 1
    return one.repeat(count, 1, 1, 1)


@pytest.mark.parametrize("modality", list(Modality))
def test_each_capture_is_distorted_in_its_own_way(modality):
    out = augment(modality, prepared(modality), torch.Generator().manual_seed(0))
    assert torch.isfinite(out).all()
    for i in range(1, 6):
        assert (out[0] - out[i]).abs().max() > 0.1


@pytest.mark.parametrize("modality", list(Modality))
def test_the_generator_alone_decides(modality):
    source = prepared(modality)
    torch.manual_seed(1)
    first = augment(modality, source, torch.Generator().manual_seed(9))
    state = torch.random.get_rng_state()
    second = augment(modality, source, torch.Generator().manual_seed(9))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("modality", list(Modality))
def test_what_is_masked_stays_dark_and_the_source_untouched(modality):
    source = prepared(modality)
    source[:, :, : source.shape[2] // 3] = 0
    before = source.clone()
    image, mask = augment(modality, source, torch.Generator().manual_seed(2)).unbind(1)
    assert torch.equal(source, before)
    assert (image[mask == 0] == 0).all()
    assert 0.1 < mask.mean() < 0.7


def test_an_iris_runs_around_the_circle_without_a_seam():
    """A texture smooth around the circle stays smooth across the first column after a roll."""
    _, _, height, width = prepared(Modality.IRIS).shape
    angle = torch.arange(width) * 2 * torch.pi / width
    wave = torch.stack([angle.sin().expand(height, width), torch.ones(height, width)])
    rolled = _warp_iris(wave.repeat(8, 1, 1, 1), torch.Generator().manual_seed(4))[:, 0]
    around = torch.cat([rolled, rolled[..., :1]], dim=2).diff(dim=2).abs()
    assert around.max() < 1.1 * 2 * torch.pi / width
    assert (rolled[:, 0, 0].std() > 0.02).item()


@pytest.mark.parametrize("modality", list(Modality))
def test_variants_are_different_images_and_the_first_is_the_true_one(modality):
    count = variants(modality)
    views = vary(prepared(modality, count), torch.arange(count))
    assert torch.equal(views[0], prepared(modality, 1)[0])
    assert len({tuple(view[0, 0].tolist()) for view in views}) == count


def test_a_variant_turns_or_mirrors():
    width = INPUT_SHAPES[Modality.IRIS][1]
    columns = torch.arange(width).float().expand(3, 2, 4, width)
    plain, mirrored, quarter = vary(columns, torch.tensor([0, 1, 2]))[:, 0, 0]
    assert torch.equal(mirrored, plain.flip(0))
    assert torch.equal(quarter, plain.roll(-width // 4))


def test_half_of_the_captures_stay_themselves():
    drawn = draw_variants(Modality.IRIS, 4000, torch.Generator().manual_seed(0))
    assert 0.45 < (drawn == 0).float().mean() < 0.55
    assert set(drawn.tolist()) == set(range(variants(Modality.IRIS)))
