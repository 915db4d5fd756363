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
from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import decode, measure
from biometric_core.imaging.formats import foreign
from biometric_core.sources.layouts import SourceCapture, is_clutter, parse
from biometric_core.sources.reader import SourceFile
from biometric_core.sources.sensor_folders import sensor_bits, sensor_of
from biometric_core.storage.store import Store

CLUTTER = "clutter"  # files no data set means to hold: counted, but no sign of bad data
DUPLICATE = "duplicate_of_other_subject"
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
        row: of `captures`, without what is the same for the whole run; empty where the image was
            known already, or refused.
    """

    path: PurePosixPath
    size: int
    content: str
    modality: str | None
    refusal: CaptureRefused | None = None
    subject: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


class Intake:
    """Examines the files of one run.

    Args:
        config: limits and the namespace of the subjects.
        store: where images are kept, by content.
        owners: subject by the id of each capture that is known; may grow meanwhile.
        sensor: what took the files that lie in no folder of a sensor.
    """

    def __init__(
        self, config: Config, store: Store, owners: Mapping[str, str], sensor: str
    ) -> None:
        self.limits, self.namespace = config.ingest, config.source.namespace
        self.store, self.owners, self.sensor = store, owners, sensor
        self.bits_of = partial(sensor_bits, config.source)
        self.names = Pseudonymiser.of(store)
        self._subjects: dict[str, str] = {}

    def __call__(self, file: SourceFile) -> Examined:
        """Examine one file, and copy its image into the store if it is a new capture."""
        content, source = UNREAD, None
        try:
            if is_clutter(file.path):
                raise CaptureRefused(CLUTTER, "not part of a data set")
            if file.refusal is not None:
                raise file.refusal
            source = parse(file.path)
            sensor = sensor_of(file.path) or self.sensor
            data = file.read()
            content = hashlib.sha256(data).hexdigest()
            if source is None:
                raise CaptureRefused("unknown_layout", _named_nothing(data))
            return self._capture(file, data, content, source, sensor)
        except CaptureRefused as refusal:
            modality = source.modality.value if source else None
            return Examined(file.path, file.size, content, modality, refusal)

    def _capture(
        self, file: SourceFile, data: bytes, content: str, source: SourceCapture, sensor: str
    ) -> Examined:
        subject = self._subject(source.subject)
        row = {}
        if content not in self.owners:
            bits = self.bits_of(sensor)
            row = {"sensor": sensor, **self._row(data, content, subject, source, bits)}
        elif self.store.files.local and self.store.files.size(_uri(content)) != len(data):
            self.store.files.write(_uri(content), data)  # lost, or cut short when power failed
        return Examined(file.path, file.size, content, source.modality.value, None, subject, row)

    def _subject(self, name: str) -> str:
        found = self._subjects.get(name)
        if found is None:  # setdefault: rows share one string, whichever thread was first
            new = self.names.of_subject(self.namespace, name)
            found = self._subjects.setdefault(name, new)
        return found

    def _row(
        self,
        data: bytes,
        capture_id: str,
        subject: str,
        source: SourceCapture,
        bits: int | None,
    ) -> dict[str, Any]:
        gray = decode(data, self.limits, bits)
        quality = measure(gray)
        if quality["contrast"] < self.limits.min_contrast:
            raise CaptureRefused("low_contrast", f"standard deviation {quality['contrast']:.1f}")
        uri = _uri(capture_id)
        self.store.files.write(uri, data)
        return {
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


def _named_nothing(data: bytes) -> str:
    """Why a path is no capture's; a file of another kind may have a name nobody asks about."""
    kind = foreign.seems(data)
    known = f"; the file: {kind.detail}" if kind else ""
    return f"the path names no subject and position{known}"


def _uri(capture_id: str) -> str:
    return f"images/{capture_id[:2]}/{capture_id}"
