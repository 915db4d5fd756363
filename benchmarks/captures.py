"""Captures to measure with: in the format of the Kaggle set, as many as asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from biometric_core.config import Config
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import decode
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor
from biometric_core.schemas import EYES, FINGERS, Modality, UInt8Array
from biometric_core.sources.layouts import is_clutter, parse
from biometric_core.sources.reader import iter_files

KAGGLE = "multimodal-iris-fingerprint-30.zip"
_GENERATED_PEOPLE = 15
_IMPRESSIONS = 5
_HANDS = FINGERS[:10]
_A_SUBJECT = len(EYES) * _IMPRESSIONS + len(_HANDS)  # captures, as in the Kaggle set
_SUBJECTS_A_CHUNK = 20

Images = Mapping[Modality, Sequence[UInt8Array]]


def base_images(data: Path, config: Config, scratch: Path) -> tuple[str, Images]:
    """Gray captures to multiply, and what they are: the Kaggle subset in `data`, else generated."""
    source = data / KAGGLE
    if not source.is_file():
        from biometric_core.sources.generator.people import generate

        source = scratch / "generated"
        generate(config, out=str(source), subjects=_GENERATED_PEOPLE)
    found: dict[Modality, list[UInt8Array]] = {modality: [] for modality in Modality}
    for file in iter_files(source, config.ingest):
        capture = None if file.refusal or is_clutter(file.path) else parse(file.path)
        if capture:
            try:
                found[capture.modality].append(decode(file.read(), config.ingest))
            except CaptureRefused:
                continue
    return ("Kaggle subset" if source.suffix else "generated people"), found


def bitmaps(images: Images, folder: Path, count: int) -> list[str]:
    """`count` BMP files as the Kaggle set has them: eyes in 24 bits, fingers in 32; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        modality = tuple(Modality)[number % 2]
        gray = _at(images, modality, number // 2)
        code = cv2.COLOR_GRAY2BGR if modality is Modality.IRIS else cv2.COLOR_GRAY2BGRA
        path = str(folder / f"{number}.bmp")
        cv2.imwrite(path, cv2.cvtColor(gray, code))
        paths.append(path)
    return paths


@dataclass(frozen=True)
class _People:
    images: Images
    folder: str
    subjects: range
    count: int


def replicate(images: Images, folder: Path, count: int, config: Config) -> None:
    """Write `count` captures in the Kaggle layout, PNG, each distinct by its first pixels."""
    people = range((count + _A_SUBJECT - 1) // _A_SUBJECT)
    chunks = [
        _People(images, str(folder), people[start : start + _SUBJECTS_A_CHUNK], count)
        for start in range(0, len(people), _SUBJECTS_A_CHUNK)
    ]
    for _ in map_chunks(_write_people, chunks, Executor.MULTIPROCESSING, config):
        pass


def _write_people(people: _People) -> None:
    for subject in people.subjects:
        for place, (modality, path) in enumerate(_places(subject)):
            number = subject * _A_SUBJECT + place
            if number < people.count:
                gray = _at(people.images, modality, number).copy()
                gray[0, :3] = np.frombuffer(number.to_bytes(3, "little"), np.uint8)
                target = Path(people.folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(target), gray, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _places(subject: int) -> Iterator[tuple[Modality, str]]:
    for eye in EYES:
        for impression in range(1, _IMPRESSIONS + 1):
            yield Modality.IRIS, f"{subject}/{eye}/x{eye[0]}{impression}.png"
    for finger in _HANDS:
        hand, name = finger.split("_")
        file = f"{subject}__M_{hand.title()}_{name}_finger.png"
        yield Modality.FINGERPRINT, f"{subject}/Fingerprint/{file}"


def _at(images: Images, modality: Modality, number: int) -> UInt8Array:
    found = images[modality]
    return found[number % len(found)]
