"""The recogniser, as one saved thing."""

from biometric_core.recogniser.recogniser import DECISION_FMR, FUSED, Recogniser

__all__ = ["DECISION_FMR", "FUSED", "Recogniser"]
