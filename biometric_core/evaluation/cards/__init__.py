"""Cards of an evaluation (what was measured, how, and what the model is for).

Nothing in them names a subject or a file of a source.
"""

from biometric_core.evaluation.cards.model_card import ModelFacts, model_card
from biometric_core.evaluation.cards.performance_card import performance_card

__all__ = ["ModelFacts", "model_card", "performance_card"]
