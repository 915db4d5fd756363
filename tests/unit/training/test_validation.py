import numpy as np
import pytest
import torch

from biometric_core.matching.error_rates import eer
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.training.validation import embed_captures, open_set, pairs, separation
from tests.support.toys import SHAPES, toy_sets


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BiometricNet(
        ModelSpec(
            shapes=SHAPES,
            identities=dict.fromkeys(SHAPES, 2),
            subjects=2,
            width=4,
            embedding_dim=16,
        )
    )


def test_pairs_are_all_unordered_pairs():
    embeddings = np.eye(4, dtype=np.float32)
    embeddings[1] = embeddings[0]
    scores, mated = pairs(embeddings, np.array(["a", "a", "b", "b"]))
    assert len(scores) == 6
    assert mated.sum() == 2
    assert sorted(scores[mated]) == [0, 1]


def test_separation_is_the_distance_in_standard_deviations():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(3, 1, 50_000), rng.normal(1, 1, 50_000)])
    mated = np.arange(100_000) < 50_000
    assert separation(scores.astype(np.float32), mated) == pytest.approx(2, abs=0.03)


def test_figures_per_modality_agree_with_the_metrics(net):
    sets = toy_sets(4)
    figures = open_set(net, sets, torch.device("cpu"))
    both = [figures[f"separation_{modality}"] for modality in Modality]
    assert figures["separation"] == pytest.approx(np.mean(both))
    assert all(0 <= figures[f"eer_{modality}"] <= 1 for modality in Modality)


def test_a_modality_without_mated_pairs_is_left_out(net):
    sets = toy_sets(4)
    one_each = sets[Modality.FINGERPRINT].impression == 0
    sets[Modality.FINGERPRINT] = sets[Modality.FINGERPRINT].select(one_each)
    assert "eer_fingerprint" not in open_set(net, sets, torch.device("cpu"))
    assert open_set(net, {}, torch.device("cpu")) == {}


def test_permuted_identities_give_an_eer_of_a_half(net):
    sets = toy_sets(12, impressions=5)
    embeddings = embed_captures(net, sets[Modality.IRIS], torch.device("cpu"))
    names = np.random.default_rng(0).permutation(sets[Modality.IRIS].identity)
    assert eer(*pairs(embeddings, names)) == pytest.approx(0.5, abs=0.08)
