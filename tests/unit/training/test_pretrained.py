import numpy as np
import pytest
import torch

from biometric_core.config import Config
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.stages.pretrain import generated_sets, pretrain
from biometric_core.training import pretrained
from biometric_core.training.trainer import Trainer
from tests.support.toys import toy_set

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


def net(**changes) -> BiometricNet:
    shapes = {"iris": (64, 512), "fingerprint": (224, 224)}
    values = {"shapes": shapes, "identities": dict.fromkeys(shapes, 3), "subjects": 3}
    return BiometricNet(ModelSpec(**{**values, **changes}))


def test_a_new_network_gets_the_shipped_branches():
    fresh = net()
    assert pretrained.start_from(fresh, Config()) == (IRIS, FINGER)
    shipped = Recogniser.load(pretrained.FOLDER).net
    for name, tensor in fresh.branches.state_dict().items():
        torch.testing.assert_close(tensor, shipped.branches.state_dict()[name])


@pytest.mark.parametrize("changes", [{"width": 16}, {"embedding_dim": 64}])
def test_a_network_of_another_size_keeps_its_own_weights(changes):
    fresh = net(**changes)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    assert pretrained.start_from(fresh, Config()) == ()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_captures_prepared_otherwise_and_a_no_start_from_nothing():
    assert pretrained.start_from(net(), Config(training={"pretrained": False})) == ()
    assert pretrained.start_from(net(), Config(preprocess={"iris_shape": (32, 256)})) == ()


def test_what_ships_knows_nobody_and_is_small():
    shipped = Recogniser.load(pretrained.FOLDER)
    assert shipped.subjects == ()
    assert shipped.spec.subjects == 1
    assert sum(file.stat().st_size for file in pretrained.FOLDER.iterdir()) < 4_000_000


def test_fingers_captured_once_leave_the_branch_as_it_is():
    config = Config()
    train = {
        IRIS: toy_set(IRIS, 6, impressions=3),
        FINGER: toy_set(FINGER, 6, impressions=1),
    }
    trainer = Trainer(train, {}, config)
    assert trainer.pretrained == (IRIS, FINGER)
    assert trainer.frozen == [FINGER]
    before = {n: t.clone() for n, t in trainer.net.branches["fingerprint"].state_dict().items()}
    eyes = trainer.net.branches["iris"].project.weight.clone()
    trainer.run_epoch()
    for name, tensor in trainer.net.branches["fingerprint"].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not torch.equal(trainer.net.branches["iris"].project.weight, eyes)


@pytest.fixture
def small() -> Config:
    few = {"subjects": 9, "impressions": 2, "epochs": 1, "batch_size": 32}
    quick = {"width": 4, "embedding_dim": 8, "min_steps": 1, "precision": "fp32"}
    return Config(pretraining=few, training=quick, preprocess={"executor": "sequential"})


def test_generated_people_are_the_same_every_time(small):
    one, other = generated_sets(small), generated_sets(small)
    assert set(one) == {IRIS, FINGER}
    for modality, captures in one.items():
        assert 0.9 * 36 <= len(captures) <= 36
        assert (captures.images == other[modality].images).all()
        assert len(np.unique(captures.subject_id)) == 9


def test_pretraining_leaves_branches_without_people(small, tmp_path):
    result = pretrain(small, out=str(tmp_path))
    assert result.people == 9
    assert {"iris", "fingerprint"} <= set(result.eer)
    made = Recogniser.load(tmp_path)
    assert made.subjects == ()
    assert made.spec.width == 4
    assert not made.net.subject_heads["concat"].weight.any()
    assert made.net.branches["iris"].project.weight.any()
