"""One capture: bytes to pixels to sample to code. Pure functions."""
