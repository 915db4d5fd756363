"""Fingerprint: from a capture of a finger to a masked crop at a common ridge scale."""
