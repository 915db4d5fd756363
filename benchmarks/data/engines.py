"""Decoding and preparing captures: our batches on each executor against what others do."""

import shutil
from collections.abc import Callable, Sequence
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
    many = paths * 22
    out = scratch / "decoded"

    def chunks(of: Sequence[str]) -> list[Chunk]:
        return [Chunk(of[n : n + _CHUNK], str(out)) for n in range(0, len(of), _CHUNK)]

    theirs, ours = medians(
        partial(_their_way, paths),
        lambda: [decode_batch(c.paths) for c in chunks(paths)],
        repeats=repeats,
        warm=False,
    )
    with ray_cluster(config):
        over_ray = partial(_drain, decode_chunk, chunks(many), Executor.RAY, config)
        over_ray()
        theirs_again, rays = medians(
            partial(_their_way, paths), over_ray, repeats=repeats, warm=False
        )
        few = many[:4000]
        one_a_task, pool = medians(
            partial(_drain, decode_one, few, Executor.RAY, config),
            partial(_drain, decode_chunk, chunks(many), Executor.MULTIPROCESSING, config),
            repeats=min(repeats, 3),
            warm=False,
        )
    return [
        _faster(
            "decode + gray + resize, one core, against Pillow + torchvision",
            len(paths) / ours,
            len(paths) / theirs,
            6,
        ),
        _faster(
            "the same through Ray (warm), all cores, pixels written to files",
            len(many) / rays,
            len(paths) / theirs_again,
            12,
        ),
        _faster(
            f"{len(many):,} images over our processes, start included, against one task an image",
            len(many) / pool,
            len(few) / one_a_task,
            5,
        ),
    ]


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
    few = Prepared(images, config, scratch, 900)
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
    times = dict(zip(Executor, (alone, pool, ray_cold), strict=True))
    picked = choose(config, 900, SECONDS_PER_CAPTURE)
    return [
        _faster(
            f"full preprocessing through Ray (warm, {cores} CPUs) against sequential, {count:,}",
            count / over_ray,
            count / sequential,
            1.8,
        ),
        at_most(
            "what Ray costs a run of 900 captures, cold start included, over sequential / CPUs",
            ray_cold - alone / cores,
            10,
            "s",
            baseline=alone / cores,
            seconds=ray_cold,
        ),
        at_most(
            f"auto at 900 captures ({picked}) against the fastest executor",
            times[picked] / min(times.values()),
            1.1,
            "ratio",
            baseline=1.0,
            seconds={executor.value: seconds for executor, seconds in times.items()},
        ),
    ]
