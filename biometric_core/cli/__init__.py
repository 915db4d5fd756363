"""The command line."""

from biometric_core.cli.commands import run

__all__ = ["run"]
