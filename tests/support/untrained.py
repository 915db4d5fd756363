"""Registered models that cost no training, good and bad."""

import torch

from biometric_core.config import Config
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.stages.register import register
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.assembly import calibrated
from biometric_core.training.training_data import load_training_data


def register_untrained(config: Config, *, good: bool, seed: int = 0, spoil: str = "") -> str:
    """Register a recogniser with random weights as challenger; returns its version.

    Random weights tell the people apart; squeezed into one dimension they hardly can.

    Args:
        config: names the store and the registry.
        good: as they are, or squeezed.
        seed: of the weights.
        spoil: name of a tensor that is filled with NaN.
    """
    shapes = {
        Modality.IRIS: config.preprocess.iris_shape,
        Modality.FINGERPRINT: config.preprocess.fingerprint_shape,
    }
    counts = dict.fromkeys(Modality, 4)
    spec = ModelSpec(shapes=shapes, identities=counts, subjects=4, width=8, embedding_dim=32)
    torch.manual_seed(seed)
    net = BiometricNet(spec).eval()
    with torch.no_grad():
        for branch in () if good else net.branches.values():
            branch.project.weight[1:] = 0
    plain = Recogniser(
        spec=net.spec,
        net=net,
        calibration={},
        thresholds={},
        subjects=("s000", "s001", "s004", "s005"),
        settings=config.preprocess,
        preprocess_version=preprocess_version(config),
    )
    model = calibrated(plain, load_training_data(config).validation)
    if spoil:
        model.net.state_dict()[spoil].fill_(float("nan"))
    folder = Store.of(config).path("untrained", f"{good}{seed}{spoil}")
    model.save(folder)
    with runs.run(config, name="untrained", tags={}) as run:
        run.log_artifacts(folder, runs.RECOGNISER)
    return register(config, run_id=run.run_id).version
