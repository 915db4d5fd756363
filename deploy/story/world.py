"""Each source of captures has tables, models and runs of its own; one of them is in use."""

import hashlib
from pathlib import Path

from biometric_core.config import load_config
from deploy.local.places import Layout, write_private
from deploy.local.stack import stop

_PARTS = ("data", "mlflow", "airflow", "source")


def switch_world(layout: Layout, source: Path | None) -> str | None:
    """Put the tables, models and runs of another source aside, and those of this one in place.

    People of two sources in one table would be neither. What is put aside comes back when its
    source is used again.

    Returns:
        What was done, for people; None where nothing was.
    """
    key = _world_key(source)
    marker = layout.source / "world"
    now = marker.read_text() if marker.is_file() else None
    if now is None and (layout.var / "data" / "tables" / "captures").exists():
        now = "unnamed"
    said = None
    if now not in (None, key):
        stop(layout)
        _move(layout.var, layout.var / "other" / str(now))
        said = f"another source was in use: its data and models are now in other/{now}"
    _move(layout.var / "other" / key, layout.var)
    layout.source.mkdir(parents=True, exist_ok=True)
    write_private(marker, key)
    return said


def _world_key(source: Path | None) -> str:
    if source is None:
        return f"generated-{_short(load_config().generator.model_dump_json())}"
    status = source.stat()
    stamp = f" {status.st_size} {status.st_mtime_ns}" if source.is_file() else ""
    return f"source-{_short(f'{source.resolve()}{stamp}')}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _move(old: Path, new: Path) -> None:
    """Move the parts of a world; `source`, which tells whose it is, goes last."""
    for name in _PARTS:
        if (old / name).exists() and not (new / name).exists():
            new.mkdir(parents=True, exist_ok=True)
            (old / name).rename(new / name)
