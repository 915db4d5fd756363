"""Evidently's pages over the workspace of drift reports, on the loopback interface.

Only reading needs no secret, and nobody is told the secret: the pages can't change what monitoring
has kept.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

# Before Evidently is imported: it decides then whether to send telemetry.
os.environ["DO_NOT_TRACK"] = "1"

from biometric_core.config import load_config
from biometric_core.errors import BiometricError


def serve(port: int) -> None:
    """Serve the configured workspace until the process is ended; it is made where missing."""
    from evidently.ui.service.app import run_local

    from biometric_core.monitoring.report.writing import prepare_workspace

    folder = prepare_workspace(load_config())
    run_local("127.0.0.1", port, str(folder), secret=secrets.token_hex(32))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `--port`."""
    parser = argparse.ArgumentParser(prog="deploy.local.report_pages", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args(arguments)
    try:
        serve(given.port)
    except BiometricError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
