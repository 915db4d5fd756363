import pytest
import torch

from biometric_core.errors import ModelError
from biometric_core.recogniser.network import BiometricNet, ModelSpec, TrainingBatch
from biometric_core.recogniser.network.branches import INPUT_SHAPES
from biometric_core.schemas import Modality

BOTH = ModelSpec(
    shapes={"iris": (64, 512), "fingerprint": (224, 224)},
    identities={"iris": 6, "fingerprint": 4},
    subjects=3,
    width=4,
    embedding_dim=16,
)
ONE = ModelSpec(
    shapes={"iris": (64, 512)}, identities={"iris": 6}, subjects=3, width=4, embedding_dim=16
)


def batch(rows, present):
    """`present`: modality -> rows that have it."""
    fused = torch.zeros(rows, 2, dtype=torch.bool)
    for place, modality in enumerate(Modality):
        fused[present.get(modality, []), place] = True
    return TrainingBatch(
        prepared={m: torch.randn(len(r), 2, *INPUT_SHAPES[m]) for m, r in present.items()},
        rows={m: torch.tensor(r) for m, r in present.items()},
        identities={m: torch.tensor(r) % 4 for m, r in present.items()},
        subjects=torch.arange(rows) % 3,
        fused=fused,
    )


def test_embeds_uint8_captures_to_unit_vectors_the_same_in_any_batch():
    net = BiometricNet(BOTH).eval()
    images = torch.randint(0, 256, (5, 224, 224), dtype=torch.uint8)
    masks = torch.full_like(images, 255)
    with torch.inference_mode():
        together = net.embed(Modality.FINGERPRINT, images, masks)
        alone = torch.cat(
            [net.embed(Modality.FINGERPRINT, images[i : i + 1], masks[:1]) for i in range(5)]
        )
    assert together.shape == (5, 16)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(5))


def test_the_default_network_is_small():
    spec = ModelSpec(shapes=BOTH.shapes, identities={"iris": 100, "fingerprint": 100}, subjects=50)
    branches = BiometricNet(spec).branches
    assert 0.4e6 < sum(p.numel() for p in branches.parameters()) < 1.3e6


def test_loss_sums_over_what_is_present():
    net = BiometricNet(BOTH)
    everything = net(batch(4, {Modality.IRIS: [0, 1, 2], Modality.FINGERPRINT: [1, 3]}))
    assert set(everything) == {"iris", "fingerprint", "subject"}
    assert set(net(batch(4, {Modality.FINGERPRINT: [0, 2]}))) == {"fingerprint", "subject"}


def test_a_step_with_nothing_has_zero_loss_and_still_a_gradient():
    losses = BiometricNet(BOTH)(batch(2, {}))
    total = sum(losses.values())
    assert total.item() == 0
    assert total.requires_grad


def test_a_modality_that_was_not_trained_is_refused_by_name():
    net = BiometricNet(ONE).eval()
    blank = torch.zeros(1, 224, 224, dtype=torch.uint8)
    with pytest.raises(ModelError, match="iris, not fingerprint"):
        net.embed(Modality.FINGERPRINT, blank, blank)


def test_a_network_of_one_modality_fuses_it_alone():
    net = BiometricNet(ONE).eval()
    iris = torch.nn.functional.normalize(torch.randn(2, 16), dim=1)
    fused = net.fuse(iris, torch.full((2, 16), float("nan")), torch.tensor([[True, False]] * 2))
    assert net.subject_logits(fused).shape == (2, 3)
    assert torch.isfinite(fused).all()
