"""In which namespace the people of a source are: equal names in one namespace are one person.

`source.namespace` says it. Where it doesn't, layout and kind of the source do, so that number 1 of
an FVC set is nobody of a folder. The inbox has the namespace of the people models are trained on:
whoever was enrolled is the same at the door. A store from before this rule keeps its one namespace.
"""

from collections.abc import Iterator
from pathlib import Path

from biometric_core.config import Config
from biometric_core.data.known_images import Provenance
from biometric_core.errors import ConfigError
from biometric_core.sources.reader import SourceFiles
from biometric_core.storage.files import is_remote

BEFORE = "default"  # the one namespace of a store from before there were several
INBOX = "inbox"
_OF_LAYOUT = {"kaggle": "kaggle", "fvc": "fvc"}
_FOLDER = "folder"
_HOW = "set source.namespace (or --set source.namespace=NAME before the command)"


def kind_of(config: Config, source: str, kind: str) -> str:
    """The kind of a source; what lies in the inbox is of the inbox, whoever hands it over."""
    if is_remote(source) or not config.storage.inbox or kind != _FOLDER:
        return kind
    inbox = Path(config.storage.inbox).resolve()
    return INBOX if Path(source).resolve().is_relative_to(inbox) else kind


def namespace_of(config: Config, kind: str, files: SourceFiles, known: set[Provenance]) -> str:
    """The namespace of the people of a source.

    Args:
        config: `source` says it, or says what the inbox goes with.
        kind: of the source, as on record.
        files: the source.
        known: where the captures came from that the store holds.

    Raises:
        ConfigError: the source is the inbox, and nothing tells whose people come there.
    """
    if config.source.namespace is not None:
        return config.source.namespace
    if any(one.namespace in (None, BEFORE) for one in known):
        return BEFORE
    if kind == INBOX:
        return _of_the_inbox(config, files, known)
    return _by_kind(kind, files)


def _by_kind(kind: str, files: SourceFiles) -> str:
    if kind == "generator" or files.generated:
        return "generated"
    return "kaggle" if kind == "kaggle" else _OF_LAYOUT.get(files.layout or "", _FOLDER)


def _of_the_inbox(config: Config, files: SourceFiles, known: set[Provenance]) -> str:
    enrolled = {str(one.namespace) for one in known if one.kind != INBOX}
    before = {str(one.namespace) for one in known if one.kind == INBOX}
    # The generator is what stands there where nobody said anything; its people have its mark.
    kind = config.source.kind
    configured = _by_kind(_FOLDER if kind == "generator" and not enrolled else kind, files)
    for candidates in (enrolled, enrolled & before, enrolled & {configured}):
        if len(candidates) == 1:
            return candidates.pop()
    if not enrolled:
        return before.pop() if len(before) == 1 else configured
    raise ConfigError(
        f"people of the namespaces {', '.join(sorted(enrolled))} are in the store, and nothing "
        f"tells whose come to the inbox: {_HOW}"
    )


def remarks(source: Provenance, known: set[Provenance], again: int) -> Iterator[str]:
    """What a person should know where captures of another source came in.

    Args:
        source: where the captures came from.
        known: where the captures came from that the store held before.
        again: people of the source that the store held before.
    """
    namespace = source.namespace
    names = {one.namespace or BEFORE for one in known}
    inside = {one for one in known if (one.namespace or BEFORE) == namespace}
    if source.kind == INBOX:
        before = {one.namespace or BEFORE for one in known if one.kind == INBOX}
        if before and namespace not in before:
            yield (
                f"people of the inbox were in the namespace {', '.join(sorted(before))} so far and "
                f"are in {namespace} now: if they are the same people, {_HOW}"
            )
        return
    if names and namespace not in names:
        yield (
            f"people of this source are in a new namespace, {namespace}, beside "
            f"{', '.join(sorted(names))}: if they are people the store knows, {_HOW}"
        )
    others = {one.origin for one in inside if one.kind != INBOX}
    if len(others) == 1 and source.origin not in others:
        yield (
            f"people of another source are in the namespace {namespace} already, and equal names "
            f"are one person: {again} of this source are taken for people who were there; if they "
            f"are others, {_HOW} for such a source before it is taken in"
        )
