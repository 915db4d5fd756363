"""Decoding and preparing captures: our batches on each executor against what others do."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.captures import Images, bitmaps, replicate
from benchmarks.data.decoding import SIDE, Chunk, decode_batch, decode_chunk, decode_one
from benchmarks.rows import Row, at_least, at_most, medians
from biometric_core.config import Config
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose
from biometric_core.parallel.ray_pool import ray_cluster
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess

_CHUNK = 256
_FEW = 900  # captures of a small run
_THEIR_WAY = transforms.Compose(
    [transforms.Grayscale(), transforms.Resize((SIDE, SIDE)), transforms.ToTensor()]
)


def _their_way(paths: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for path in paths:
        with Image.open(path) as image:
            _THEIR_WAY(image)


def _drain(
    function: Callable[[Any], Any], chunks: Sequence[Any], executor: Executor, config: Config
) -> None:
    for _ in map_chunks(function, chunks, executor, config):
        pass


def decoding(images: Images, config: Config, scratch: Path, repeats: int) -> list[Row]:
    """Decode, gray and resize: on one core, over both, and one image a task."""
    paths = bitmaps(images, scratch / "bitmaps", 900)
    many, out = paths * 22, str(scratch / "decoded")
    found = [_on_one_core(paths, out, repeats)]
    with ray_cluster(config):
        found.append(_through_ray(many, paths, out, config, repeats))
        found.append(_over_processes(many, out, config, min(repeats, 3)))
    return found


def _chunks(paths: Sequence[str], out: str) -> list[Chunk]:
    return [Chunk(paths[n : n + _CHUNK], out) for n in range(0, len(paths), _CHUNK)]


def _on_one_core(paths: Sequence[str], out: str, repeats: int) -> Row:
    theirs, ours = medians(
        partial(_their_way, paths),
        lambda: [decode_batch(c.paths) for c in _chunks(paths, out)],
        repeats=repeats,
        warm=False,
    )
    return _faster(
        "decode + gray + resize, one core, against Pillow + torchvision",
        len(paths) / ours,
        len(paths) / theirs,
        6,
    )


def _through_ray(
    many: Sequence[str], few: Sequence[str], out: str, config: Config, repeats: int
) -> Row:
    """Our way on many images against theirs on a few."""
    over_ray = partial(_drain, decode_chunk, _chunks(many, out), Executor.RAY, config)
    over_ray()
    theirs, rays = medians(partial(_their_way, few), over_ray, repeats=repeats, warm=False)
    return _faster(
        "the same through Ray (warm), all cores, pixels written to files",
        len(many) / rays,
        len(few) / theirs,
        12,
    )


def _over_processes(many: Sequence[str], out: str, config: Config, repeats: int) -> Row:
    few = many[:4000]
    one_a_task, pool = medians(
        partial(_drain, decode_one, few, Executor.RAY, config),
        partial(_drain, decode_chunk, _chunks(many, out), Executor.MULTIPROCESSING, config),
        repeats=repeats,
        warm=False,
    )
    return _faster(
        f"{len(many):,} images over our processes, start included, against one task an image",
        len(many) / pool,
        len(few) / one_a_task,
        5,
    )


def _faster(name: str, rate: float, baseline_rate: float, target: float) -> Row:
    return at_least(
        name,
        rate / baseline_rate,
        target,
        "ratio",
        baseline=1.0,
        images_per_second=rate,
        baseline_images_per_second=baseline_rate,
    )


class Prepared:
    """A store with captures taken in, whose features are made again and again."""

    def __init__(self, images: Images, config: Config, scratch: Path, count: int) -> None:
        source, self.root = scratch / f"source-{count}", scratch / f"engines-{count}"
        replicate(images, source, count, config)
        storage = config.storage.model_copy(update={"root": str(self.root)})
        self.config = config.model_copy(update={"storage": storage})
        self.count = ingest(self.config, source=str(source)).added

    def run(self, executor: Executor) -> None:
        """Prepare all of them, from nothing."""
        shutil.rmtree(self.root / "tables" / "features", ignore_errors=True)
        result = preprocess(self.config, executor=executor.value)
        if result.prepared + result.failed != self.count:
            raise RuntimeError(f"{result} of {self.count}")


def preparing(images: Images, config: Config, scratch: Path, repeats: int, count: int) -> list[Row]:
    """Full preprocessing on each executor, and what Ray costs a small run."""
    few = Prepared(images, config, scratch, _FEW)
    alone, pool, ray_cold = medians(
        *(partial(few.run, executor) for executor in Executor), repeats=repeats, warm=False
    )
    many = Prepared(images, config, scratch, count)
    with ray_cluster(config):
        few.run(Executor.RAY)
        cores = int(ray.cluster_resources()["CPU"])
        sequential, over_ray = medians(
            partial(many.run, Executor.SEQUENTIAL),
            partial(many.run, Executor.RAY),
            repeats=repeats,
            warm=False,
        )
    return [
        _faster(
            f"full preprocessing through Ray (warm, {cores} CPUs) against sequential, {count:,}",
            count / over_ray,
            count / sequential,
            1.8,
        ),
        at_most(
            f"what Ray costs a run of {_FEW} captures, cold start included, over sequential / CPUs",
            ray_cold - alone / cores,
            10,
            "s",
            baseline=alone / cores,
            seconds=ray_cold,
        ),
        _choice(config, dict(zip(Executor, (alone, pool, ray_cold), strict=True))),
    ]


def _choice(config: Config, seconds: Mapping[Executor, float]) -> Row:
    """What `auto` picks for a small run, by how long each executor takes for it."""
    picked = choose(config, _FEW, SECONDS_PER_CAPTURE)
    return at_most(
        f"auto at {_FEW} captures ({picked}) against the fastest executor",
        seconds[picked] / min(seconds.values()),
        1.1,
        "ratio",
        baseline=1.0,
        seconds={executor.value: taken for executor, taken in seconds.items()},
    )
