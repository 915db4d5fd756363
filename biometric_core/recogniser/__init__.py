"""The recogniser, as one saved thing."""

from biometric_core.recogniser.recogniser import FUSED, Recogniser

__all__ = ["FUSED", "Recogniser"]
