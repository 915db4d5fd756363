"""The trainable recogniser: one branch per modality, fusion of what is present, class heads."""

from biometric_core.recogniser.network.net import BiometricNet, TrainingBatch
from biometric_core.recogniser.network.spec import ModelSpec

__all__ = ["BiometricNet", "ModelSpec", "TrainingBatch"]
