import pytest
import torch

from biometric_core.recogniser.network.branches import INPUT_SHAPES, standardise
from biometric_core.recogniser.network.spec import variants
from biometric_core.schemas import Modality
from biometric_core.training import warping as module
from biometric_core.training.warping import warp

SHAPES = {Modality.IRIS: (64, 512), Modality.FINGERPRINT: (224, 224)}


@pytest.fixture
def still(monkeypatch):
    """Only the variant moves a capture."""
    for name in ("IRIS_ROLL", "IRIS_RADIAL", "FINGER_TURN", "FINGER_SHIFT", "FINGER_SCALE"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "FINGER_ELASTIC", 0.0)


def texture(modality, count, shape=None):
    generator = torch.Generator().manual_seed(5)
    shape = shape or SHAPES[modality]
    coarse = torch.rand(1, 1, shape[0] // 4, shape[1] // 4, generator=generator) * 255
    images = torch.nn.functional.interpolate(coarse, size=shape, mode="bilinear")[0].to(torch.uint8)
    return images.repeat(count, 1, 1), torch.full((count, *shape), 255, dtype=torch.uint8)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("shape", [None, (64, 256), (128, 128), (32, 64)])
def test_unmoved_it_shows_what_the_network_sees_at_recognition(still, modality, shape):
    images, masks = texture(modality, 2, shape)
    gray, usable = warp(
        modality, images, masks, torch.zeros(2, dtype=torch.int64), torch.Generator()
    )
    expected = standardise(modality, images, masks)
    assert gray.shape == usable.shape == (2, *INPUT_SHAPES[modality])
    assert (usable == 1).all()
    pair = torch.stack([gray[0].flatten(), expected[0, 0].flatten()])
    # `standardise` repeats pixels of a capture smaller than its input, here they are interpolated.
    assert torch.corrcoef(pair)[0, 1] > (0.999 if shape is None else 0.95)


@pytest.mark.parametrize("modality", list(Modality))
def test_variants_are_different_images_and_the_first_is_the_true_one(still, modality):
    count = variants(modality)
    views, _ = warp(modality, *texture(modality, count), torch.arange(count), torch.Generator())
    assert len({tuple(view.flatten().tolist()) for view in views}) == count
    assert torch.equal(views[1], views[0].flip(1))
    if modality is Modality.IRIS:
        quarter = INPUT_SHAPES[modality][1] // 4
        assert torch.equal(views[2], views[0].roll(-quarter, dims=1))


def test_an_iris_runs_around_the_circle_without_a_seam():
    angle = torch.arange(512) * 2 * torch.pi / 512
    images = (128 + 100 * angle.sin()).to(torch.uint8).expand(8, 64, 512).contiguous()
    zeros = torch.zeros(8, dtype=torch.int64)
    seed = torch.Generator().manual_seed(4)
    rolled, _ = warp(Modality.IRIS, images, torch.full_like(images, 255), zeros, seed)
    around = torch.cat([rolled, rolled[..., :1]], dim=2).diff(dim=2).abs()
    assert around.max() < 5, "as smooth across the first column as elsewhere"
    assert rolled[:, 0, 0].std() > 2


def test_what_comes_in_from_outside_a_finger_is_masked():
    images, masks = texture(Modality.FINGERPRINT, 12, (128, 128))
    zeros = torch.zeros(12, dtype=torch.int64)
    _, usable = warp(Modality.FINGERPRINT, images, masks, zeros, torch.Generator().manual_seed(1))
    assert 0.6 < usable.mean() < 0.99
    assert (usable[:, 40:88, 40:88] == 1).all()
    images, masks = texture(Modality.FINGERPRINT, 12)
    _, usable = warp(Modality.FINGERPRINT, images, masks, zeros, torch.Generator().manual_seed(1))
    assert (usable == 1).all(), "a larger capture shows what lies around the window"


@pytest.mark.parametrize("modality", list(Modality))
def test_opencv_and_torch_sample_alike(modality, monkeypatch):
    images, masks = texture(modality, 5)
    masks[:, :, 100:180] = 0
    variant = torch.arange(5) % variants(modality)

    def moved():
        return warp(modality, images, masks, variant, torch.Generator().manual_seed(7))

    gray, usable = moved()
    monkeypatch.setattr(module, "_sampled_by_opencv", module._sampled)
    other_gray, other_usable = moved()
    assert (gray - other_gray).abs().max() <= 4
    assert (gray - other_gray).abs().mean() < 0.5
    assert (usable != other_usable).float().mean() < 0.01


def test_more_captures_than_one_opencv_image_holds_change_nothing(monkeypatch):
    images, masks = texture(Modality.FINGERPRINT, 7)
    variant = torch.zeros(7, dtype=torch.int64)
    whole = warp(Modality.FINGERPRINT, images, masks, variant, torch.Generator().manual_seed(2))
    monkeypatch.setattr(module, "_MAX_ROWS", 2 * 226)
    parts = warp(Modality.FINGERPRINT, images, masks, variant, torch.Generator().manual_seed(2))
    # A place far down a tall image is a coarser number.
    assert (whole[0] - parts[0]).abs().max() <= 4
    assert (whole[0] != parts[0]).float().mean() < 0.2
    assert torch.equal(whole[1], parts[1])
