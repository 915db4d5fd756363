"""Which sources the params of a DAG may name.

Whoever may trigger a run is not the one who runs the worker: a param must not make it read any
folder of its machine or any bucket its keys open. The command line is the user's own and is free.
"""

import os
from pathlib import Path, PurePath

from biometric_core.config import Config
from biometric_core.errors import SourceError
from biometric_core.storage.files import is_remote, object_path

NAMED = ("generator", "kaggle")  # what they bring lies under the storage root


def allowed_source(config: Config, source: str) -> str:
    """A source that a param names, links in its path followed, if the configuration allows it.

    Args:
        config: `source.allowed`: folders, archives and `s3://bucket/prefix`; by default where the
            product's own captures lie.
        source: "generator", "kaggle", a path or `s3://bucket/prefix`.

    Raises:
        ConfigError: the address of an object store with more than bucket and prefix.
        SourceError: it lies elsewhere. Whether it exists is not told.
    """
    if source in NAMED:
        return source
    remote, place = _place(source)
    roots = [_place(root) for root in _roots(config)]
    if not any(remote == kind and place.is_relative_to(root) for kind, root in roots):
        raise SourceError(
            f"source {source!r} is not among those that a run may name: put the captures into "
            "storage.inbox or var/, or have source.allowed name their folder or bucket"
        )
    return source if remote else str(place)


def _roots(config: Config) -> tuple[str, ...]:
    if config.source.allowed is not None:
        return config.source.allowed
    own = (config.storage.root, config.storage.inbox, config.source.path)
    return (*(place for place in own if place), os.environ.get("BIOMETRIC_VAR") or "var")


def _place(source: str) -> tuple[bool, PurePath]:
    """Whether it is on an object store, and where: parts can be compared, text can't."""
    if is_remote(source):
        return True, object_path(source)
    try:
        return False, Path(source.removeprefix("file://")).expanduser().resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, a loop of links, no such user
        raise SourceError(f"source {source!r} is no path: {error}") from None
