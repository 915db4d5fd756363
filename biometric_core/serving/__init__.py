"""Answers: in batches."""
