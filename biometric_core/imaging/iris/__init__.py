"""Iris: from a capture of an eye to a masked rubber sheet, and what is encoded from it."""
