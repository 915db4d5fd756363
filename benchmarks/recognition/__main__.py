"""Error rates on real captures, and speed: `make bench-recognition [DATA=folder]`.

The folder holds what can't be shipped: thirty subjects of the Kaggle set in its own layout, and the
FVC2002 sets DB1_B and DB3_B (https://biolab.csr.unibo.it/fvc2002). Nothing of a test subject is
used in training; the FVC rows use the shipped recogniser, which has seen generated fingers only.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.captures import KAGGLE
from benchmarks.recognition import speed
from benchmarks.rows import FOLDER, Row, at_least, at_most, per_cent, write
from biometric_core.config import Config, load_config
from biometric_core.imaging.iris.paint_out import PaintOut
from biometric_core.recogniser import Recogniser
from biometric_core.stages.crossval import crossval
from biometric_core.training import pretrained

FVC = {"FVC2002 DB1_B": "fvc2002-db1b.zip", "FVC2002 DB3_B": "fvc2002-db3b.zip"}
FOLDS = 3
_FMR_0_1 = "fnmr_at_fmr_0.001"
Figures = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; 0 where every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the three zips")
    data: Path = parser.parse_args(arguments).data
    missing = [name for name in (KAGGLE, *FVC.values()) if not (data / name).is_file()]
    if missing:
        parser.error(f"{data} lacks {', '.join(missing)}: name the folder with DATA=...")
    config = load_config()
    rows = [
        *_iris(config, data),
        *_painted(config, data),
        *_fingers(config, data),
        *_chimeric(config, data),
        *speed.rows(Recogniser.load(pretrained.FOLDER)),
    ]
    path = write("recognition", rows)
    print(f"written: {path}")
    return 0 if all(row.met for row in rows) else 1


def _details(found: Figures, figure: str, result: Figures, sets: str) -> dict[str, Any]:
    bounds = found["intervals"].get(figure)
    return {
        "sets": sets,
        "seed": result["protocol"]["seed"],
        "folds": result["protocol"]["folds"],
        "interval": None if bounds is None else [100 * bound for bound in bounds],
        "mated": found["n_mated"],
        "non_mated": found["n_non_mated"],
    }


def _iris(config: Config, data: Path) -> list[Row]:
    report = str(FOLDER / "recognition")
    result = crossval(config, sources=[str(data / KAGGLE)], folds=FOLDS, report=report)
    found, sets = result["mean"]["iris"], "30 Kaggle subjects"

    def details(figure: str) -> dict[str, Any]:
        return _details(found, figure, result, sets)

    return [
        at_most("iris, per eye: EER", per_cent(found["eer"]), 2.0, "%", **details("eer")),
        at_most(
            "iris, per eye: FNMR at FMR 0.1 %",
            per_cent(found[_FMR_0_1]),
            5.0,
            "%",
            **details(_FMR_0_1),
        ),
        at_least("iris, per eye: rank-1", per_cent(found["rank1"]), 98, "%", **details("rank1")),
        at_most(
            f"training of all {FOLDS} folds",
            result["protocol"]["training_seconds"] / 60,
            5,
            "minutes",
            sets=sets,
            pretraining="shipped with the package",
        ),
    ]


def _painted(config: Config, data: Path) -> list[Row]:
    source = str(data / KAGGLE)
    results = {
        what.value: crossval(config, sources=[source], folds=FOLDS, paint_out=what.value)
        for what in PaintOut
    }
    result = results[PaintOut.IRIS]
    found = result["mean"]["iris"]
    told = {
        **_details(found, "eer", result, "30 Kaggle subjects"),
        "refused_otherwise": result["protocol"]["painted_refused"],
        "only_what_lids_leave_painted": per_cent(results["visible_iris"]["mean"]["iris"]["eer"]),
    }
    name = "iris with the iris painted out: EER"
    return [at_least(name, per_cent(found["eer"]), 35, "%", **told)]


def _fingers(config: Config, data: Path) -> list[Row]:
    targets = {
        "FVC2002 DB1_B": {"fingerprint_embedding": 12.0, "fingerprint": 3.5},
        "FVC2002 DB3_B": {"fingerprint": 7.0},
    }
    labels = {"fingerprint_embedding": "embedding alone", "fingerprint": "all encoders"}
    rows = []
    for name, archive in FVC.items():
        shipped = str(pretrained.FOLDER)
        result = crossval(config, sources=[str(data / archive)], recogniser=shipped)
        every = {**result["mean"], **result["mean"]["combinations"]}
        for figures, target in targets[name].items():
            told = _details(every[figures], "eer", result, name)
            label = f"{name}, {labels[figures]}: EER"
            rows.append(at_most(label, per_cent(every[figures]["eer"]), target, "%", **told))
    return rows


def _chimeric(config: Config, data: Path) -> list[Row]:
    sources = [str(data / name) for name in (KAGGLE, *FVC.values())]
    result = crossval(config, sources=sources, folds=FOLDS, chimeric=True)
    every = {**result["mean"], **result["mean"]["combinations"]}
    wanted = {
        "fused": ("both irises and one finger, chimeric: EER", 0.3),
        "missing_third": ("the same, each missing with probability 1/3: EER", 1.7),
    }
    sets = "30 Kaggle subjects, FVC2002 DB1_B and DB3_B, paired at random"
    return [
        at_most(
            label,
            per_cent(every[name]["eer"]),
            target,
            "%",
            **_details(every[name], "eer", result, sets),
            draws=every[name].get("draws"),
        )
        for name, (label, target) in wanted.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
