"""Honest figures of a recogniser: on subjects it was never trained on, with intervals."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.compute as pc

from biometric_core import bootstrap, metrics
from biometric_core.acquisition import failures_to_acquire
from biometric_core.calibration import cllr
from biometric_core.closed_set import as_metrics, closed_set_figures
from biometric_core.config import Config
from biometric_core.dataset import CaptureSet, load_captures
from biometric_core.errors import CaptureRefused, DataError, FailureToAcquire
from biometric_core.evaluation_log import log_evaluation
from biometric_core.evaluation_report import Evidence
from biometric_core.gallery import Gallery, feature_gallery
from biometric_core.match import Comparisons, Identification, compare_all, identify
from biometric_core.recogniser import FUSED, Recogniser, require_preprocessing
from biometric_core.release import check_release
from biometric_core.schemas import Float32Array, Modality, Split
from biometric_core.splits import reserved
from biometric_core.store import Store
from biometric_core.tracking import runs

FUSED_FEATURE = "fused_feature"
NAMES = (*(modality.value for modality in Modality), FUSED, FUSED_FEATURE)
NO_MATED_PAIR = "no mated pair: no identity has two captures"
_LATENCY_CAPTURES = 24


@dataclass(frozen=True)
class Scored:
    """All comparisons of a set of captures under one recogniser.

    Attributes:
        comparisons: by `iris`, `fingerprint`, `fused` and `fused_feature`; only what has mated
            pairs.
        identifications: likewise, with one gallery image for each identity.
        reasons: why a name is missing.
    """

    comparisons: Mapping[str, Comparisons]
    identifications: Mapping[str, Identification]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` found.

    Attributes:
        metrics: figures by name as `evaluate_sets` gives them, `closed_set`, `latency` and `fta`.
        release_ok: every release threshold holds.
        release_reasons: a line for each threshold that failed or could not be asked.
        plots: paths of the pictures.
        cards: paths of the performance card (Markdown, HTML) and the model card.
    """

    metrics: dict[str, Any]
    release_ok: bool
    release_reasons: list[str]
    plots: list[str]
    cards: list[str]


def scored(
    recogniser: Recogniser,
    sets: Mapping[Modality, CaptureSet],
    modalities: tuple[Modality, ...] | None = None,
) -> Scored:
    """Compare all captures with each other.

    Args:
        recogniser: gives embeddings and calibrated scores.
        sets: captures of subjects the recogniser has not seen.
        modalities: only these, so that two models are scored on the same pairs; all that the
            recogniser knows when None.
    """
    wanted = recogniser.modalities if modalities is None else modalities
    reasons = {}
    usable: dict[Modality, CaptureSet] = {}
    for modality in Modality:
        captures = sets.get(modality)
        if captures is None or not len(captures):
            reasons[modality.value] = "no captures"
        elif modality not in wanted or modality not in recogniser.modalities:
            reasons[modality.value] = "the model was not trained on it"
        elif len(np.unique(captures.identity)) == len(captures):
            reasons[modality.value] = NO_MATED_PAIR
        else:
            usable[modality] = captures
    galleries = _galleries(recogniser, usable)
    if not usable:
        reasons |= dict.fromkeys((FUSED, FUSED_FEATURE), "no modality has mated pairs")
    return Scored(
        comparisons={name: compare_all(gallery) for name, gallery in galleries.items()},
        identifications={name: identify(gallery) for name, gallery in galleries.items()},
        reasons=reasons,
    )


def _galleries(recogniser: Recogniser, sets: Mapping[Modality, CaptureSet]) -> dict[str, Gallery]:
    if not sets:
        return {}
    embeddings: dict[Modality, Float32Array] = {
        modality: recogniser.embed_set(captures) for modality, captures in sets.items()
    }
    galleries = recogniser.galleries(sets, embeddings)
    galleries[FUSED_FEATURE] = feature_gallery(sets, embeddings, recogniser.fuse)
    return galleries


def evaluate_sets(
    recogniser: Recogniser, sets: Mapping[Modality, CaptureSet], config: Config
) -> dict[str, Any]:
    """Figures of all comparisons among the captures; see `figures`."""
    return figures(scored(recogniser, sets), config)


@dataclass(frozen=True)
class Measured:
    """The figures of one name (`iris`, `fused`, ...), with their bootstrap replicates."""

    rates: Mapping[str, bootstrap.Resampled]
    plain: Mapping[str, float | int | None]

    def record(self, confidence: float) -> dict[str, Any]:
        """As JSON-able figures with `intervals`."""
        intervals = {name: rate.interval(confidence) for name, rate in self.rates.items()}
        return {
            **{name: interval.value for name, interval in intervals.items()},
            **self.plain,
            "intervals": {name: interval.bounds() for name, interval in intervals.items()},
        }


def measure(found: Scored, config: Config) -> dict[str, Measured]:
    """Error rates of every name that has mated and non-mated comparisons."""
    return {
        name: _measured(comparisons, found.identifications[name], config, name != FUSED_FEATURE)
        for name, comparisons in found.comparisons.items()
        if not metrics.one_kind(comparisons.mated)
    }


def _measured(
    comparisons: Comparisons, identification: Identification, config: Config, likelihood: bool
) -> Measured:
    replicates, seed = config.evaluation.bootstrap, config.evaluation.seed
    scores, mated = comparisons.scores, comparisons.mated
    return Measured(
        rates={
            **bootstrap.error_rates(comparisons, replicates=replicates, seed=seed),
            "rank1": bootstrap.rank1_rate(identification, replicates=replicates, seed=seed),
        },
        plain={
            "auc": metrics.auc(scores, mated),
            "cllr": cllr(scores, mated) if likelihood else None,
            "n_mated": comparisons.n_mated,
            "n_non_mated": comparisons.n_non_mated,
            "n_subjects": len(np.unique(comparisons.subjects)),
        },
    )


def figures(found: Scored, config: Config) -> dict[str, Any]:
    """Error rates with bootstrap intervals over subjects, JSON-able.

    Returns:
        `iris`, `fingerprint`, `fused` (sum of log-likelihood ratios over what is present) and
        `fused_feature` (the model's feature-level fusion): each a dict with `eer`,
        `fnmr_at_fmr_0.01`, `fnmr_at_fmr_0.001`, `rank1`, `auc`, `cllr`, `n_mated`, `n_non_mated`,
        `n_subjects` and `intervals` ([low, high] by figure), or None; and `reasons`, by name, for
        each None. A figure that the comparisons can't carry is None, with a reason
        `<name>.<figure>`.
    """
    return records(measure(found, config), found.reasons, config)


def records(
    measured: Mapping[str, Measured], reasons: Mapping[str, str], config: Config
) -> dict[str, Any]:
    """What `figures` gives, from figures that were measured before."""
    result: dict[str, Any] = {}
    why = dict(reasons)
    for name in NAMES:
        if name not in measured:
            result[name] = None
            why.setdefault(name, "mated or non-mated pairs are missing")
            continue
        result[name] = measured[name].record(config.evaluation.confidence)
        why |= {
            f"{name}.{figure}": "too few non-mated pairs to carry this FMR"
            for figure, value in result[name].items()
            if figure.startswith("fnmr") and value is None
        }
    return {**result, "reasons": why}


def evaluate(config: Config, *, run_id: str, as_of: datetime | None = None) -> EvaluateResult:
    """Evaluate the recogniser of a training run on the test subjects, and log it to that run.

    Args:
        config: `evaluation` and `release` decide.
        run_id: the MLflow run of `train`.
        as_of: only captures taken before; all when None.

    Raises:
        DataError: there are no captures of test subjects.
        ModelError: the run has no usable recogniser, or it needs another preprocessing.
    """
    recogniser = Recogniser.load(runs.download_recogniser(config, run_id))
    require_preprocessing(recogniser, config)
    store = Store.of(config)
    sets = load_captures(store, config, as_of=as_of)
    trained = list(recogniser.subjects)
    test = {
        m: s.select((s.split == Split.TEST) & ~np.isin(s.subject_id, trained))
        for m, s in sets.items()
    }
    test = {modality: captures for modality, captures in test.items() if len(captures)}
    if not test:
        raise DataError("no captures of test subjects: ingest more people, or raise splits.test")
    found = scored(recogniser, test)
    closed = closed_set_figures(recogniser, {m: s.select(reserved(s)) for m, s in sets.items()})
    values = {
        **figures(found, config),
        "closed_set": as_metrics(closed) if closed else None,
        "latency": latency(recogniser, store, test),
        "fta": failures_to_acquire(store, config, trained=trained, as_of=as_of),
    }
    if closed is None:
        values["reasons"]["closed_set"] = "no training subject has captures kept out of training"
    evidence = Evidence(
        found.comparisons,
        {name: one.ranks for name, one in found.identifications.items()},
        test,
        closed.confusion if closed else None,
    )
    release_ok, why = check_release(values, config.release)
    record = {"run_id": run_id, **values, "release": {"ok": release_ok, "reasons": why}}
    written = log_evaluation(config, run_id, record, evidence, recogniser)
    drawn, cards = ([str(path) for path in paths] for paths in (written.pictures, written.cards))
    return EvaluateResult(values, release_ok, why, drawn, cards)


def latency(
    recogniser: Recogniser, store: Store, sets: Mapping[Modality, CaptureSet]
) -> dict[str, float] | None:
    """Milliseconds from an image file's bytes to its embedding, one capture at a time.

    Args:
        recogniser: what is timed.
        store: where the files are.
        sets: captures; a few of each modality that the recogniser knows are taken.

    Returns:
        `p50_ms`, `p95_ms` and `captures`; None where there is nothing to time.
    """
    chosen = [
        (modality, str(capture_id))
        for modality, captures in sets.items()
        if modality in recogniser.modalities
        for capture_id in captures.capture_id[:_LATENCY_CAPTURES]
    ]
    ids = [capture_id for _, capture_id in chosen]
    rows = store.read("captures", ["capture_id", "uri"], pc.field("capture_id").isin(ids))
    uris = dict(zip(rows["capture_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    seconds = []
    for modality, capture_id in chosen:
        path = store.root / (uris[capture_id] or "")
        if path.is_file():  # images may be deleted while what was prepared from them is kept
            data = path.read_bytes()
            start = time.perf_counter()
            _embed_one(recogniser, data, modality)
            seconds.append(time.perf_counter() - start)
    if len(seconds) < 2:
        return None
    p50, p95 = np.quantile(seconds[1:], [0.5, 0.95]) * 1000  # the first one warms up
    return {"p50_ms": float(p50), "p95_ms": float(p95), "captures": len(seconds) - 1}


def _embed_one(recogniser: Recogniser, data: bytes, modality: Modality) -> None:
    try:
        sample = recogniser.acquire(data, modality)
    except (CaptureRefused, FailureToAcquire):
        return
    recogniser.embed(modality, sample.image[np.newaxis], sample.mask[np.newaxis])
