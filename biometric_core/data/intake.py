"""What one file of a source is: a capture, one that is known, or refused with a reason.

Reading, hashing, decoding, measuring and copying run outside the interpreter lock: several threads
may examine files of one run at once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from biometric_core.config import Config
from biometric_core.data.known_images import KnownImages, image_path
from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.data.same_pixels import pixels_digest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import decode, measure
from biometric_core.imaging.formats import foreign
from biometric_core.schemas import UInt8Array
from biometric_core.sources.layouts import (
    SourceCapture,
    identified,
    is_clutter,
    nested_archive,
    subject_as_written,
)
from biometric_core.sources.names import spellings
from biometric_core.sources.reader import SourceFile
from biometric_core.sources.sensor_folders import sensor_bits, sensor_of
from biometric_core.storage.store import Store

CLUTTER = "clutter"  # files no data set means to hold: counted, but no sign of bad data
DUPLICATE = "duplicate_of_other_subject"
ZIP = b"PK\3\4"  # what a zip begins with
UNREAD = hashlib.sha256(b"").hexdigest()  # content of a file that was refused before it was read


@dataclass(frozen=True, slots=True)
class Examined:
    """One file.

    Attributes:
        path: relative to the source, personal data.
        size: bytes, as the source states it.
        content: SHA-256 of the bytes that were read, hex.
        modality: as the path states it, None where it names no capture.
        refusal: why it can't be a capture, None where it can.
        subject: pseudonym; empty of a refused file.
        pixels: digest of the decoded pixels; empty where the file's content was known already, or
            refused.
        row: of `captures`, without what is the same for the whole run; empty likewise.
    """

    path: PurePosixPath
    size: int
    content: str
    modality: str | None
    refusal: CaptureRefused | None = None
    subject: str = ""
    pixels: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


class Intake:
    """Examines the files of one run.

    Args:
        config: limits.
        store: where images are kept, by content.
        known: what the store holds; its owners may grow meanwhile.
        names: the store's pseudonyms.
        record: what is the same for the whole run, columns of `captures`: with the `namespace` of
            the subjects, and the `sensor` of files that lie in no folder of one.

    Attributes:
        respelled: subjects that an earlier version named otherwise; they keep their pseudonym.
        doubled: those among them who are another subject as well, under the name of now.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        known: KnownImages,
        names: Pseudonymiser,
        record: Mapping[str, Any],
    ) -> None:
        self.limits, self.store, self.known, self.names = config.ingest, store, known, names
        self.namespace, self.sensor = record["namespace"], record["sensor"]
        self.bits_of = partial(sensor_bits, config.source)
        self.people = frozenset(known.people)
        self.respelled: set[str] = set()
        self.doubled: set[str] = set()
        self._subjects: dict[tuple[str, ...], str] = {}

    def __call__(self, file: SourceFile) -> Examined:
        """Examine one file, and copy its image into the store if it is a new capture."""
        content, source = UNREAD, None
        try:
            if is_clutter(file.path):
                raise CaptureRefused(CLUTTER, "not part of a data set")
            source = identified(file.path)
            if file.refusal is not None:
                raise file.refusal
            sensor = sensor_of(file.path) or self.sensor
            data = file.read()
            content = hashlib.sha256(data).hexdigest()
            if source is None:
                raise _unplaced(data)
            return self._capture(file, data, content, source, sensor)
        except CaptureRefused as refusal:
            modality = source.modality.value if source else None
            return Examined(file.path, file.size, content, modality, refusal)

    def _capture(
        self, file: SourceFile, data: bytes, content: str, source: SourceCapture, sensor: str
    ) -> Examined:
        subject = self._subject(file, source.subject)
        row: dict[str, Any] = {}
        pixels, uri = "", image_path(content)
        if content not in self.known.owners:
            gray = decode(data, self.limits, self.bits_of(sensor))
            row, pixels = self._row(data, gray, content, subject, source)
            row["sensor"] = sensor
        elif self.store.files.local and self.store.files.size(uri) != len(data):
            self.store.files.write(uri, data)  # lost, or cut short when power failed
        modality = source.modality.value
        return Examined(file.path, file.size, content, modality, None, subject, pixels, row)

    def _subject(self, file: SourceFile, name: str) -> str:
        """The pseudonym; of somebody the store knows by another spelling the one of then."""
        names: tuple[str, ...] = (name,)
        if not name.isascii() or file.formerly is not None:
            read = [path for path in (file.formerly, file.path) if path is not None]
            written = [one for one in map(subject_as_written, read) if one is not None]
            names = (*written, *spellings(name))
        found = self._subjects.get(names)
        if found is None:  # setdefault: rows share one string, whichever thread was first
            found = self._subjects.setdefault(names, self._known_as(names, name))
        return found

    def _known_as(self, names: tuple[str, ...], name: str) -> str:
        own = self.names.of_subject(self.namespace, name)
        if len(names) == 1:
            return own
        by_spelling = (self.names.of_subject(self.namespace, one) for one in names)
        found = next((subject for subject in by_spelling if subject in self.people), own)
        if found != own:
            self.respelled.add(found)
            self.doubled.update({found} if own in self.people else ())
        return found

    def _row(
        self,
        data: bytes,
        gray: UInt8Array,
        capture_id: str,
        subject: str,
        source: SourceCapture,
    ) -> tuple[dict[str, Any], str]:
        """The row, and the digest of the pixels."""
        quality = measure(gray)
        if quality["contrast"] < self.limits.min_contrast:
            raise CaptureRefused("low_contrast", f"standard deviation {quality['contrast']:.1f}")
        pixels, uri = pixels_digest(gray), image_path(capture_id)
        if pixels not in self.known.owners:  # else it is the same image in another format
            self.store.files.write(uri, data)
        row = {
            "capture_id": capture_id,
            "subject_id": subject,
            "modality": source.modality.value,
            "position": source.position,
            "impression": source.impression,
            "sex": source.sex,
            "uri": uri,
            "width": gray.shape[1],
            "height": gray.shape[0],
            **quality,
        }
        return row, pixels


def _unplaced(data: bytes) -> CaptureRefused:
    """Why a file whose path names no capture is refused."""
    if data.startswith(ZIP):
        return nested_archive()
    kind = foreign.seems(data)  # a file of another kind may have a name nobody asks about
    known = f"; the file: {kind.detail}" if kind else ""
    return CaptureRefused("unknown_layout", f"the path names no subject and position{known}")
