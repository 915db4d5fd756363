"""`python -m biometric_core` is the command line."""

from biometric_core.cli import app

app(prog_name="biometric")
