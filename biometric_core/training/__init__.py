"""From capture sets to a recogniser."""
