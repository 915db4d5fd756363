"""`python -m biometric_core` is the command line."""

from biometric_core.cli.commands import run

run()
