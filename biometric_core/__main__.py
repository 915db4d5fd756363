"""`python -m biometric_core` is the command line."""

from biometric_core.cli import run

run()
