"""Which images a store holds, whose they are, and from which sources they came."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Ingest
from biometric_core.data.same_pixels import pixels_digest
from biometric_core.errors import CaptureRefused, StorageError
from biometric_core.imaging.decoding import decode
from biometric_core.parallel.progress import track
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)
_IMAGES_PER_COMMIT = 8192
IMAGES = "images"  # the folder


class Provenance(NamedTuple):
    """Where captures came from: namespace and origin are None of what older versions took in."""

    namespace: str | None
    kind: str
    origin: str | None


@dataclass
class KnownImages:
    """What a store holds, by what makes an image the same.

    Attributes:
        owners: subject by capture id, and by the digest of the pixels.
        people: all subjects, each by itself.
        provenances: of all captures.
        doubled: captures that are the image of another subject as well.
    """

    owners: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    provenances: set[Provenance] = field(default_factory=set)
    doubled: int = 0

    def owner(self, content: str, pixels: str) -> str | None:
        """Whose image it is, None of nobody in the store; an empty digest is nobody's."""
        return self.owners.get(content) or self.owners.get(pixels)


def image_path(capture_id: str) -> str:
    """Where the store keeps an image, by its content."""
    return f"{IMAGES}/{capture_id[:2]}/{capture_id}"


def known_images(store: Store, limits: Ingest, threads: int) -> KnownImages:
    """What the store holds; digests of pixels that it lacks are made now, once, and kept.

    It lacks them where an older version took the images in, or where a run was cut short.

    Raises:
        StorageError: images can't be read just now.
    """
    found = KnownImages()
    columns = ["namespace", "source", "origin"]
    for batch in store.scan("captures", ["capture_id", "subject_id", *columns]):
        found.owners |= _owners(batch, found.people)
        kinds = pa.Table.from_batches([batch]).group_by(columns).aggregate([])
        found.provenances |= {Provenance(*row.values()) for row in kinds.to_pylist()}
    missing = len(found.owners)
    for capture, digest in _digests(store):
        missing -= capture in found.owners
        _add(found, capture, digest)
    lacking = _lacking(store) if missing else []
    for capture, digest in _made(store, lacking, limits, threads):
        _add(found, capture, digest)
    if lacking and found.doubled:
        _log.warning(
            "%d images are in the store of two people: an earlier version took them in; they stay, "
            "and evaluation and gate count each once",
            found.doubled,
        )
    return found


def owners_of(store: Store, captures: list[str]) -> dict[str, str]:
    """Subject by capture id, of those the store holds now."""
    among = pc.field("capture_id").isin(pa.array(captures, pa.string()))
    people: dict[str, str] = {}
    found: dict[str, str] = {}
    for batch in store.scan("captures", ["capture_id", "subject_id"], among):
        found |= _owners(batch, people)
    return found


def keep_digests(store: Store, digests: Mapping[str, str | None]) -> None:
    """Put digests of pixels, by capture id, on record."""
    columns = {"capture_id": list(digests), "digest": list(digests.values())}
    rows = pa.table(columns, schema=TABLES["pixel_digests"])
    store.append_new("pixel_digests", rows)


def _owners(batch: pa.RecordBatch, people: dict[str, str]) -> dict[str, str]:
    """Subject by capture id. A subject's captures share one string: there may be millions."""
    pairs = zip(batch["capture_id"].to_pylist(), batch["subject_id"].to_pylist(), strict=True)
    return {capture: people.setdefault(subject, subject) for capture, subject in pairs}


def _digests(store: Store) -> Iterator[tuple[str, str | None]]:
    for batch in store.scan("pixel_digests"):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _lacking(store: Store) -> list[str]:
    """Captures without a row of `pixel_digests`, sorted."""
    captures = store.read("captures", ["capture_id"])["capture_id"].to_pylist()
    return sorted(set(captures).difference(capture for capture, _ in _digests(store)))


def _add(found: KnownImages, capture: str, digest: str | None) -> None:
    owner = found.owners.get(capture)
    if owner is not None and digest is not None:
        found.doubled += found.owners.setdefault(digest, owner) != owner


def _made(
    store: Store, captures: list[str], limits: Ingest, threads: int
) -> Iterator[tuple[str, str | None]]:
    """Digests the store lacks, committed some thousands at a time."""
    if not captures:
        return
    _log.warning("%d images have no digest of their pixels yet: they are read once", len(captures))
    read = map_threads(partial(_digest_of, store, limits), captures, threads)
    digests = track(read, total=len(captures), description="reading pixels")
    pairs = zip(captures, digests, strict=True)
    while group := dict(islice(pairs, _IMAGES_PER_COMMIT)):
        keep_digests(store, group)
        yield from group.items()


def _digest_of(store: Store, limits: Ingest, capture: str) -> str | None:
    """None of an image that is lost, or that this version refuses."""
    try:
        return pixels_digest(decode(store.files.read(image_path(capture)), limits))
    except CaptureRefused:
        return None
    except FileNotFoundError:
        if store.files.local is not None and not (store.files.local / IMAGES).is_dir():
            where = f"{store.root} has no folder {IMAGES}"
            raise StorageError(f"{where}: is the disk mounted?") from None
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"an image under {store.root} can't be read ({reason}): mend that and run again"
        ) from error
