"""Which captures make up each training step, and how they become tensors.

No loader processes: rows are indexed straight out of the (memory-mapped) uint8 arrays and distorted
as a batch. That is as fast as loaders here, and Celery forbids child processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.recogniser.network import TrainingBatch
from biometric_core.recogniser.network.net import ORDER
from biometric_core.schemas import IntArray, Modality
from biometric_core.training.augmentation import augment, draw_variants

NOTHING = -1
MIN_ROWS = 2  # batch statistics need two captures
HIDDEN_SHARE = 0.15  # of each modality of complete rows is kept from the fused head


@dataclass(frozen=True)
class Classes:
    """The classes of the heads; their order is the sorted order of the names, in every process.

    Attributes:
        subjects: subject ids.
        identities: eyes and fingers by modality; only modalities that have captures.
    """

    subjects: tuple[str, ...]
    identities: dict[Modality, tuple[str, ...]]

    @classmethod
    def of(cls, sets: Mapping[Modality, CaptureSet]) -> "Classes":
        """The classes of a training set; the order of its rows makes no difference."""
        present = {m: sets[m] for m in ORDER if m in sets and len(sets[m])}
        subjects = {str(name) for found in present.values() for name in found.subject_id}
        return cls(
            subjects=tuple(sorted(subjects)),
            identities={m: _names(found.identity) for m, found in present.items()},
        )


def _names(values: npt.NDArray[np.str_]) -> tuple[str, ...]:
    return tuple(str(name) for name in np.unique(values))


@dataclass(frozen=True)
class Labelled:
    """A capture set with its class numbers.

    Attributes:
        captures: the rows.
        names: its identities, in class order.
        subject, identity: class numbers, int64 (N,).
    """

    captures: CaptureSet
    names: tuple[str, ...]
    subject: IntArray
    identity: IntArray


def labelled(sets: Mapping[Modality, CaptureSet], classes: Classes) -> dict[Modality, Labelled]:
    """Number the captures of every modality by `classes`."""
    return {
        modality: Labelled(
            sets[modality],
            names,
            np.searchsorted(np.array(classes.subjects), sets[modality].subject_id),
            np.searchsorted(np.array(names), sets[modality].identity),
        )
        for modality, names in classes.identities.items()
    }


@dataclass(frozen=True)
class Rows:
    """Rows of training: `subject` int64 (R,), `captures` int64 (R, M) with -1 for none."""

    subject: IntArray
    captures: IntArray

    def __len__(self) -> int:
        return len(self.subject)

    def part(self, index: IntArray) -> "Rows":
        """The rows at `index`."""
        return Rows(self.subject[index], self.captures[index])


@dataclass(frozen=True)
class Order:
    """How the rows of an epoch follow each other.

    Attributes:
        impressions: rows of a subject that come together, `training.impressions`.
        window: rows are shuffled among this many neighbours, `training.shuffle_rows`.
    """

    impressions: int | None = None
    window: int | None = None


def epoch_rows(
    data: Mapping[Modality, Labelled],
    least: int,
    rng: np.random.Generator,
    order: Order = Order(),
) -> Rows:
    """The rows of one epoch, shuffled: each capture at least once, modalities paired at random.

    Args:
        data: training captures.
        least: a smaller set is repeated, paired anew each time, up to this many rows.
        rng: decides pairs and order.
        order: what of the order is not left to chance.
    """
    rounds = [_one_round(data, rng)]
    while (missing := least - sum(map(len, rounds))) > 0:
        again = _one_round(data, rng)
        rounds.append(again.part(rng.permutation(len(again))[:missing]))
    rows = Rows(
        np.concatenate([r.subject for r in rounds]), np.concatenate([r.captures for r in rounds])
    )
    return rows.part(_shuffled(rows.subject, order, rng))


def _shuffled(subject: IntArray, order: Order, rng: np.random.Generator) -> IntArray:
    """A random order of the rows, int64 (R,): of groups of a subject's rows, within windows.

    Subjects in the order of their names are neighbours in the file as well, so that what a window
    reads lies together.
    """
    if order == Order():
        return rng.permutation(len(subject))
    size = order.impressions or 1
    pairs = np.stack([subject, _places(subject, rng) // size], axis=1)
    groups, group = np.unique(pairs, axis=0, return_inverse=True)
    count = len(groups)
    window = max(1, count if order.window is None else order.window // size)
    block = (np.arange(count) + rng.integers(window)) // window
    turn = rng.permutation(block.max() + 1)[block]
    rank = np.empty(count, dtype=np.int64)
    rank[np.lexsort((rng.random(count), turn))] = np.arange(count)
    return np.argsort(rank[group.reshape(-1)], kind="stable")


def _one_round(data: Mapping[Modality, Labelled], rng: np.random.Generator) -> Rows:
    """Every capture once: the i-th of a subject's shuffled irises goes with its i-th finger."""
    places = {m: _places(found.subject, rng) for m, found in data.items()}
    subjects = np.concatenate([found.subject for found in data.values()])
    slots = np.concatenate([places[m] for m in data])
    keys, row = np.unique(np.stack([subjects, slots], axis=1), axis=0, return_inverse=True)
    captures = np.full((len(keys), len(ORDER)), NOTHING, dtype=np.int64)
    start = 0
    for modality, found in data.items():
        stop = start + len(found.subject)
        captures[row[start:stop], ORDER.index(modality)] = np.arange(len(found.subject))
        start = stop
    return Rows(keys[:, 0], captures)


def _places(subject: IntArray, rng: np.random.Generator) -> IntArray:
    """A random rank 0, 1, ... of each capture among those of its subject, int64 (N,)."""
    order = rng.permutation(len(subject))
    order = order[np.argsort(subject[order], kind="stable")]
    grouped = subject[order]
    first = np.searchsorted(grouped, grouped)
    places = np.empty_like(order)
    places[order] = np.arange(len(order)) - first
    return places


def steps(
    rows: Rows, batch_size: int, rank: int = 0, world: int = 1, *, together: bool = False
) -> list[Rows]:
    """Cut the rows into equal steps, and each step into equal shares of `world` workers.

    Args:
        rows: of an epoch.
        batch_size: rows of a step, about.
        rank: of this worker.
        world: number of workers.
        together: neighbouring rows of a subject stay in one step, which is then less equal.

    Returns:
        This worker's share of every step; all workers get the same number of steps.
    """
    count = max(1, round(len(rows) / batch_size))
    cuts = np.cumsum([len(part) for part in np.array_split(np.arange(len(rows)), count)])[:-1]
    if together:
        starts = np.flatnonzero(np.diff(rows.subject, prepend=-1))
        cuts = np.unique(starts[np.searchsorted(starts, cuts, side="right") - 1])
        cuts = cuts[cuts > 0]
    chunks = np.split(np.arange(len(rows)), cuts)
    return [rows.part(np.array_split(chunk, world)[rank]) for chunk in chunks]


@dataclass(frozen=True)
class Fetched:
    """Captures of a step as they are stored.

    Attributes:
        rows: of the step.
        places: by modality, int64 (n,): the row of each capture.
        identity: by modality, int64 (n,): class of each capture.
        pixels: by modality, images and masks, uint8 (n, H, W).
    """

    rows: Rows
    places: Mapping[Modality, IntArray]
    identity: Mapping[Modality, IntArray]
    pixels: Mapping[Modality, tuple[Tensor, Tensor]]


def fetch(rows: Rows, data: Mapping[Modality, Labelled], *, pinned: bool = False) -> Fetched:
    """Read the captures of one step.

    Args:
        rows: of this step.
        data: training captures.
        pinned: into memory from which a GPU copies by itself.
    """
    places, identity, found = {}, {}, {}
    for modality, labelled_set in data.items():
        column = rows.captures[:, ORDER.index(modality)]
        row = np.flatnonzero(column != NOTHING)
        if len(row) < MIN_ROWS:
            continue
        images, masks = pixels(labelled_set.captures, column[row], torch.device("cpu"))
        found[modality] = (images.pin_memory(), masks.pin_memory()) if pinned else (images, masks)
        places[modality], identity[modality] = row, labelled_set.identity[column[row]]
    return Fetched(rows, places, identity, found)


def assemble(
    fetched: Fetched,
    data: Mapping[Modality, Labelled],
    device: torch.device,
    generator: torch.Generator,
) -> TrainingBatch:
    """Distort and standardise the captures of one step, on the device.

    Args:
        fetched: the captures of this step.
        data: training captures.
        device: where the network is.
        generator: on `device`; all randomness of the step comes from it.
    """
    prepared, places, identities, true = {}, {}, {}, {}
    for modality, stored in fetched.pixels.items():
        images, masks = (maps.to(device, non_blocking=True) for maps in stored)
        variant = draw_variants(modality, len(images), generator)
        prepared[modality] = augment(modality, images, masks, variant, generator)
        places[modality] = torch.from_numpy(fetched.places[modality]).to(device)
        identity = torch.from_numpy(fetched.identity[modality]).to(device)
        identities[modality] = identity + variant * len(data[modality].names)
        true[modality] = places[modality][variant == 0]
    subjects = torch.from_numpy(fetched.rows.subject).to(device)
    return TrainingBatch(prepared, places, identities, subjects, _shown(subjects, true, generator))


def pixels(captures: CaptureSet, index: IntArray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and masks at `index`, uint8 (n, H, W) each, on `device`."""
    return (
        torch.from_numpy(np.ascontiguousarray(captures.images[index])).to(device),
        torch.from_numpy(np.ascontiguousarray(captures.masks[index])).to(device),
    )


def _shown(
    subjects: Tensor, places: Mapping[Modality, Tensor], generator: torch.Generator
) -> Tensor:
    """What the fused head sees, bool (B, M); it must learn to do with part of a subject."""
    present = torch.zeros(len(subjects), len(ORDER), dtype=torch.bool, device=subjects.device)
    for modality, row in places.items():
        present[row, ORDER.index(modality)] = True
    draw = torch.rand(len(subjects), generator=generator, device=subjects.device)
    band = torch.floor(draw / HIDDEN_SHARE).long()  # band i hides modality i
    hidden = torch.nn.functional.one_hot(band.clamp(max=len(ORDER)), len(ORDER) + 1).bool()
    return present & ~(hidden[:, : len(ORDER)] & present.all(dim=1, keepdim=True))
