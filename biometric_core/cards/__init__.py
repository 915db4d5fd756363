"""Cards of an evaluation (what was measured, how, and what the model is for), and of the data.

Nothing in them names a subject or a file of a source.
"""

from biometric_core.cards.data_report import data_report
from biometric_core.cards.html import page
from biometric_core.cards.model_card import ModelFacts, model_card
from biometric_core.cards.performance import performance_card

__all__ = ["ModelFacts", "data_report", "model_card", "page", "performance_card"]
