"""What the demonstration needs first, in processes of its own beside Airflow's start.

`registry` makes MLflow's database; `story` lays a source out as a history and days.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

from biometric_core.config import load_config
from biometric_core.errors import BiometricError
from deploy.local.places import Layout, write_private

FIRST_DAY = date(2026, 1, 5)
STORY_FILE = "story.json"


def registry() -> None:
    """Make MLflow's database and experiment."""
    from biometric_core.tracking.runs import prepare

    prepare(load_config())


def story(source: str | None, layout: Layout) -> None:
    """Lay out a source, or generated people, as a history and three days; says where it did."""
    from biometric_core.sources.replay import replay

    config = load_config()
    if source is None:
        from biometric_core.sources.generator.people import generate

        source = generate(config, out=str(layout.source / "generated")).path
    told = replay(config, source=source, out=str(layout.source), first_day=FIRST_DAY)
    write_private(layout.source / STORY_FILE, json.dumps(asdict(told), indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(prog="deploy.story.seed", description=__doc__)
    parser.add_argument("what", choices=("registry", "story"))
    parser.add_argument("--source", type=Path)
    given = parser.parse_args(arguments)
    os.nice(5)  # Airflow's start comes first
    try:
        if given.what == "registry":
            registry()
        else:
            story(str(given.source) if given.source else None, Layout.default())
    except BiometricError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
