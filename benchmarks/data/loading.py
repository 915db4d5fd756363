"""How fast training batches are read, and what loading and augmentation cost a training step."""

import itertools
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from benchmarks.rows import Row, at_least, at_most, medians, per_cent
from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, Sets, load_captures
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.matching.bootstrap import Interval, error_rates
from biometric_core.matching.comparisons import compare_all
from biometric_core.matching.gallery import Encoded, modality_gallery
from biometric_core.matching.templates import Embeddings
from biometric_core.parallel.thread_limits import torch_threads
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.pretrain import generated_sets
from biometric_core.storage.store import Store
from biometric_core.training.fit import fit
from biometric_core.training.trainer import Trainer
from biometric_core.training.validation import embed_captures

_CAPTURES, _BATCH, _BATCHES, _REPEATS = 10_000, 64, 50, 5
_STEPS, _PEOPLE, _SEED = 6, 60, 11
_BLOCK = 1000


def rows(config: Config, captures: int = _CAPTURES, people: int = _PEOPLE) -> list[Row]:
    """All of them.

    Args:
        config: `training` and the shapes of `preprocess` decide.
        captures: in the store that is read from, of noise.
        people: generated, to see what bfloat16 does to the EER.
    """
    with tempfile.TemporaryDirectory(prefix="biometric-bench-") as folder:
        storage = {"root": f"{folder}/data", "work": f"{folder}/work"}
        config = _changed(config, "storage", **storage)
        _fill(config, captures)
        sets = load_captures(Store.of(config), config)
        reading, shares = _random_batches(sets, Path(folder)), _shares(sets, config)
        faster = _steps_in_bf16(sets, config)
        return [reading, *shares, faster, *_errors_in_bf16(config, people)]


def _changed(config: Config, section: str, **values: Any) -> Config:
    part = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: part})


def _fill(config: Config, captures: int) -> None:
    """Captures of noise, half of them irises, ten of each subject."""
    store, rng = Store.of(config), np.random.default_rng(_SEED)
    shapes = {
        Modality.IRIS: (config.preprocess.iris_shape, "left"),
        Modality.FINGERPRINT: (config.preprocess.fingerprint_shape, "left_thumb"),
    }
    for (modality, (shape, position)), start in itertools.product(
        shapes.items(), range(0, captures // 2, _BLOCK)
    ):
        numbers = range(start, min(start + _BLOCK, captures // 2))
        known: dict[str, Any] = {
            "modality": modality.value,
            "position": position,
            "sensor": "",
            "split": "train",
        }
        known |= {"height": shape[0], "width": shape[1], "quality": 1.0}
        known |= {"preprocess_version": preprocess_version(config), "captured_at": 0}
        table = [
            {
                **known,
                "capture_id": f"{rng.integers(2**63):016x}",
                "subject_id": f"{number // 10:06}",
                "impression": number % 10,
                "image": rng.bytes(shape[0] * shape[1]),
                "mask": b"\xff" * (shape[0] * shape[1]),
            }
            for number in numbers
        ]
        for name in ("captures", "features"):
            columns = {
                field.name: pa.array([row.get(field.name) for row in table], field.type)
                for field in TABLES[name]
            }
            store.append_new(name, pa.table(columns, schema=TABLES[name]))


def _random_batches(sets: Sets, folder: Path) -> Row:
    captures = sets[Modality.FINGERPRINT]
    plain = []
    for name in ("images", "masks"):
        stored = getattr(captures, name)
        array = np.memmap(folder / name, np.uint8, "w+", shape=stored.shape)
        for start in range(0, len(stored), _BLOCK):
            array[start : start + _BLOCK] = stored[start : start + _BLOCK]
        plain.append(np.memmap(folder / name, np.uint8, "r", shape=stored.shape))
    rng = np.random.default_rng(_SEED)
    chosen = [rng.permutation(len(captures))[:_BATCH] for _ in range(_BATCHES)]

    def read(arrays: Any) -> Callable[[], object]:
        return lambda: [array[index] for index in chosen for array in arrays]

    ours, memmap = medians(read((captures.images, captures.masks)), read(plain))
    return at_most(
        f"random batch of {_BATCH} fingerprints and masks, against numpy memmap",
        ours / memmap,
        1.5,
        "ratio",
        baseline=1.0,
        milliseconds=1000 * ours / _BATCHES,
        memmap_milliseconds=1000 * memmap / _BATCHES,
        captures=sum(map(len, sets.values())),
    )


def _shares(sets: Sets, config: Config) -> list[Row]:
    """Pure compute of a step over the whole step, with a core to spare and without one."""
    cores = len(os.sched_getaffinity(0))
    few = {m: found.select(np.arange(min(len(found), 1000))) for m, found in sets.items()}
    if torch.cuda.is_available():
        return [_share(few, config, 1, "on the GPU"), *_gpu(few, config)]
    found = [(1, "one core computes, another loads")] if cores > 1 else []
    return [
        _share(few, config, threads, how) for threads, how in [*found, (cores, "all cores compute")]
    ]


def _share(sets: Sets, config: Config, threads: int, how: str) -> Row:
    with torch_threads(threads):
        trainer = Trainer(sets, {}, config)
        plan, generator = trainer._plan(0)
        plan = plan[:_STEPS]
        trainer._training_mode()
        trainer._set_pace(1.0)
        ready = next(trainer._batches(plan[:1], generator))

        def compute() -> None:
            for _ in plan:
                trainer._step(plan[0], itertools.repeat(ready))

        def whole() -> None:
            batches = trainer._batches(plan, generator)
            for rows in plan:
                trainer._step(rows, batches)

        pure, every = medians(compute, whole)
    return at_least(
        f"training step with loading and augmentation, pure compute in it ({how})",
        pure / every,
        0.95,
        "ratio",
        baseline=1.0,
        threads=threads,
        bfloat16=trainer.bfloat16,
        milliseconds=1000 * every / len(plan),
        compute_milliseconds=1000 * pure / len(plan),
    )


def _gpu(sets: Sets, config: Config) -> list[Row]:
    trainer = Trainer(sets, {}, config)
    found = [trainer.run_epoch() for _ in range(_REPEATS + 1)][1:]
    rate, waited = (
        statistics.median(metrics[name] for metrics in found)
        for name in ("samples_per_second", "data_share")
    )
    name = torch.cuda.get_device_name()
    told = {"device": name, "images_per_second": rate}
    return [
        at_most("training on a GPU: time spent waiting for data", waited, 0.05, "share", **told)
    ]


def _steps_in_bf16(sets: Sets, config: Config) -> Row:
    few = {m: found.select(np.arange(min(len(found), 1000))) for m, found in sets.items()}
    kinds = ("fp32", "bf16")
    trainers = [Trainer(few, {}, _changed(config, "training", precision=kind)) for kind in kinds]

    def step(trainer: Trainer) -> Callable[[], object]:
        plan, generator = trainer._plan(0)
        trainer._training_mode()
        ready = next(trainer._batches(plan[:1], generator))
        return lambda: [trainer._step(plan[0], itertools.repeat(ready)) for _ in range(_STEPS)]

    slow, fast = medians(*map(step, trainers))
    capable = torch.cpu.get_capabilities()
    told = {
        "amx": bool(capable.get("amx_bf16")),
        "avx512_bf16": bool(capable.get("avx512_bf16")),
        "milliseconds": 1000 * fast / _STEPS,
    }
    return at_least(
        f"training step in bf16, against fp32 ({'AMX' if told['amx'] else 'no AMX here'})",
        slow / fast,
        2,
        "ratio",
        baseline=1,
        **told,
    )


def _errors_in_bf16(config: Config, people: int) -> list[Row]:
    rates = _error_rates(config, people)
    return [
        at_most(
            f"{modality}: EER in bf16, against the interval of that in fp32",
            per_cent(rates["bf16"][modality].value),
            per_cent(rates["fp32"][modality].high) or 0.0,
            "%",
            baseline=per_cent(rates["fp32"][modality].value),
            intervals={
                kind: [per_cent(found[modality].low), per_cent(found[modality].high)]
                for kind, found in rates.items()
            },
            people=people,
        )
        for modality in Modality
    ]


def _error_rates(config: Config, people: int) -> dict[str, dict[Modality, Interval]]:
    """Of the embeddings of generated people who were not trained on, after fits of both kinds."""
    sets = generated_sets(_changed(config, "pretraining", subjects=people, impressions=4))
    bounds = (0, people // 2, 3 * people // 5, people)
    train, validation, test = (
        {m: found.select(_of(found, range(*pair))) for m, found in sets.items()}
        for pair in itertools.pairwise(bounds)
    )
    rates = {}
    for kind in ("fp32", "bf16"):
        chosen = _changed(config, "training", precision=kind, pretrained=False)
        net = fit(train, validation, chosen).network()
        rates[kind] = {
            modality: _eer(found, embed_captures(net, found, torch.device("cpu")), config)
            for modality, found in test.items()
        }
    return rates


def _of(captures: CaptureSet, people: range) -> npt.NDArray[np.bool_]:
    return np.isin(captures.subject_id, [f"{number:06}" for number in people])


def _eer(captures: CaptureSet, embeddings: npt.NDArray[np.float32], config: Config) -> Interval:
    gallery = modality_gallery(captures, [Encoded(Embeddings(embeddings))])
    settings = config.evaluation
    found = error_rates(
        compare_all(gallery), fmrs=(), replicates=settings.bootstrap, seed=settings.seed
    )
    return found["eer"].interval(settings.confidence)
