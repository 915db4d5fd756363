"""The embedded source: generated people with several impressions of each eye and finger.

Every image depends on (seed, subject, modality, position, impression) and nothing else, so the same
seed gives the same bytes in any process, with any number of workers, and a data set can grow.
"""

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from biometric_core.config import Config
from biometric_core.errors import ConfigError, SourceError
from biometric_core.parallel.progress import track
from biometric_core.parallel.thread_limits import usable_cores
from biometric_core.schemas import EYES, POSITIONS, Modality, UInt8Array
from biometric_core.sources.layouts import GENERATED, SourceCapture, flat_path
from biometric_core.storage.files import atomic_write

# Two fingers by default: the index fingers, which most live scans ask for first.
FINGER_ORDER = tuple(
    f"{hand}_{finger}"
    for finger in ("index", "middle", "thumb", "ring", "little")
    for hand in ("left", "right")
)
VERSION = 1  # of the images: raise it when the same seed gives other bytes
_MIN_IMAGES_FOR_POOL = 120  # a pool takes about 1.5 s to start
_SUFFIX = {Modality.IRIS: ".bmp", Modality.FINGERPRINT: ".png"}
_IDENTITY = 0  # impressions are numbered from 1: no capture shares its identity's randomness


@dataclass(frozen=True)
class GenerateResult:
    """A generated data set: `images` it holds, `written` by this call in `seconds`."""

    path: str
    images: int
    written: int
    seconds: float


@dataclass(frozen=True)
class _Subject:
    """One unit of work: the captures of a subject that are not there yet."""

    number: int
    seed: int
    folder: str
    captures: tuple[SourceCapture, ...]


def generate(
    config: Config,
    *,
    out: str,
    subjects: int | None = None,
    impressions: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
) -> GenerateResult:
    """Write generated captures in the flat layout; what is there already is left alone.

    Args:
        config: `generator` says what the other arguments leave out.
        out: folder, made when missing: `iris/001_L_01.bmp`, `fingerprint/001_L_index_01.png`.
        subjects: number of people; a larger number later adds to the same folder.
        impressions: captures of each eye and finger; likewise.
        seed: the people; another seed needs another folder.
        workers: processes, all available cores when None; the bytes don't depend on it.

    Raises:
        ConfigError: a number is out of range.
        SourceError: `out` holds captures of another seed or of another version.
    """
    start = time.monotonic()
    people = config.generator.subjects if subjects is None else subjects
    repeats = config.generator.impressions if impressions is None else impressions
    number = config.generator.seed if seed is None else seed
    _check(people, repeats, number)
    folder = Path(out)
    _claim(folder, number)
    fingers = FINGER_ORDER[: config.generator.fingers]
    work = [_missing(folder, n, number, fingers, repeats) for n in range(1, people + 1)]
    work = [subject for subject in work if subject.captures]
    todo = sum(len(subject.captures) for subject in work)
    done = _done(work, todo, workers)
    written = sum(track(done, total=len(work), description="generating people"))
    images = people * repeats * (len(EYES) + len(fingers))
    return GenerateResult(out, images, written, round(time.monotonic() - start, 3))


def _check(subjects: int, impressions: int, seed: int) -> None:
    for name, value in (("subjects", subjects), ("impressions", impressions)):
        if value < 1:
            raise ConfigError(f"generator {name} must be at least 1, got {value}")
    if seed < 0:
        raise ConfigError(f"generator seed must not be negative, got {seed}")


def _claim(folder: Path, seed: int) -> None:
    """Mark `folder` as this seed's, or refuse it: people of two seeds must never mix."""
    manifest, mine = folder / GENERATED, {"seed": seed, "version": VERSION}
    try:
        found = json.loads(manifest.read_bytes())
    except FileNotFoundError:
        atomic_write(manifest, json.dumps(mine).encode())
    except ValueError as error:
        raise SourceError(f"{manifest} is damaged: delete {folder}") from error
    else:
        if found != mine:
            raise SourceError(
                f"{folder} holds generated captures of {found}, not {mine}: "
                "delete it or name another folder"
            )


def _missing(
    folder: Path, number: int, seed: int, fingers: tuple[str, ...], impressions: int
) -> _Subject:
    identities = [(Modality.IRIS, eye) for eye in EYES]
    identities += [(Modality.FINGERPRINT, finger) for finger in fingers]
    captures = (
        SourceCapture(f"{number:03d}", modality, position, impression)
        for modality, position in identities
        for impression in range(1, impressions + 1)
    )
    missing = tuple(capture for capture in captures if not _path(folder, capture).exists())
    return _Subject(number, seed, str(folder), missing)


def _path(folder: Path, capture: SourceCapture) -> Path:
    return folder / flat_path(capture, _SUFFIX[capture.modality])


def _done(work: list[_Subject], images: int, workers: int | None) -> Iterator[int]:
    """Work through subjects, over processes where that pays and this process may have children."""
    processes = min(workers or usable_cores(), max(1, len(work)))
    daemonic = multiprocessing.current_process().daemon
    if processes == 1 or daemonic or images < _MIN_IMAGES_FOR_POOL:
        yield from map(_write_subject, work)
        return
    # Not fork: a forked child can hang on the locks of OpenCV's and Arrow's threads.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _single_threaded) as pool:
        yield from pool.imap_unordered(_write_subject, work)


def _single_threaded() -> None:
    import cv2

    cv2.setNumThreads(1)


def _write_subject(subject: _Subject) -> int:
    """Render and write a subject's captures; returns how many."""
    import cv2

    for capture in subject.captures:
        image = render((subject.seed, subject.number), capture)
        encoded, data = cv2.imencode(_SUFFIX[capture.modality], image)
        if not encoded:
            raise SourceError(f"a generated {capture.modality} image can't be encoded")
        atomic_write(_path(Path(subject.folder), capture), data.tobytes())
    return len(subject.captures)


def render(
    person: tuple[int, int],
    capture: SourceCapture,
    finger_shape: tuple[int, int] | None = None,
) -> UInt8Array:
    """One image.

    Args:
        person: seed of the population, and the person's number in it.
        capture: which eye or finger, and which impression of it.
        finger_shape: height and width of the fingerprint sensor; a default when None.

    Returns:
        uint8 (H, W).
    """
    from biometric_core.sources.generator.eye_captures import render_eye
    from biometric_core.sources.generator.finger_captures import SHAPE, render_finger

    modality = tuple(Modality).index(capture.modality)
    position = POSITIONS[capture.modality].index(capture.position)
    part = (*person, modality, position)
    seeds = (*part, _IDENTITY), (*part, capture.impression)
    if capture.modality is Modality.IRIS:
        return render_eye(*seeds)[0]
    return render_finger(*seeds, finger_shape or SHAPE)
