"""From comparisons to figures: error rates by name, with bootstrap intervals over subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet
from biometric_core.evaluation.combinations import MISSING_THIRD, Round, combinations, pooled
from biometric_core.matching import bootstrap, error_rates
from biometric_core.matching.calibration import cllr
from biometric_core.matching.comparisons import Comparisons, Identification, compare_all, identify
from biometric_core.matching.gallery import (
    Encoded,
    Gallery,
    feature_gallery,
    fused_gallery,
    modality_gallery,
)
from biometric_core.matching.templates import Templates
from biometric_core.recogniser import FUSED, Recogniser
from biometric_core.schemas import Float32Array, Float64Array, Modality

THRESHOLD_FMR = 0.01  # of all comparisons: where groups and qualities are looked at
FUSED_FEATURE = "fused_feature"
FUSED_NAMES = (FUSED, FUSED_FEATURE)
NAMES = (*(modality.value for modality in Modality), *FUSED_NAMES)
NO_MATED_PAIR = "no mated pair: no identity has two captures"
APART = (
    "no visit (a subject's captures of one day and impression number) holds both an eye and a "
    "finger: fusion of the two is not measured, only visits of either"
)
FMRS = (0.01, 0.001)
_GAP_REPEATS = 10


@dataclass(frozen=True)
class Scored:
    """All comparisons of a set of captures under one recogniser.

    Attributes:
        comparisons: by `iris`, `fingerprint`, `fused` and `fused_feature`; only what has mated
            pairs.
        identifications: likewise, with one gallery image for each identity.
        reasons: why a name is missing.
        galleries: what was compared, by modality and `fused`.
    """

    comparisons: Mapping[str, Comparisons]
    identifications: Mapping[str, Identification]
    reasons: Mapping[str, str]
    galleries: Mapping[str, Gallery] = field(default_factory=dict)

    @property
    def codes(self) -> dict[Modality, tuple[Templates, ...]]:
        """Templates by encoders that are not learned, compared: the same for another model."""
        found = {m: self.galleries[m.value] for m in Modality if m.value in self.galleries}
        return {m: tuple(c.templates for c in one.channels[1:]) for m, one in found.items()}


@dataclass(frozen=True)
class Encodings:
    """Captures with what a recogniser's encoders make of them, row by row.

    Attributes:
        sets: captures by modality.
        embeddings: float32 (N, D) of each modality.
        encoders: templates of each modality; their comparisons are made once.
    """

    sets: Mapping[Modality, CaptureSet]
    embeddings: Mapping[Modality, Float32Array]
    encoders: Mapping[Modality, Sequence[Encoded]]

    @classmethod
    def of(cls, recogniser: Recogniser, sets: Mapping[Modality, CaptureSet]) -> "Encodings":
        """Encode and compare all captures."""
        embeddings = {modality: recogniser.embed_set(found) for modality, found in sets.items()}
        encoders = {}
        for modality, found in sets.items():
            templates = recogniser.templates(found, embeddings[modality])
            weighed = recogniser.weighed(modality, templates)
            encoders[modality] = tuple(one.compared() for one in weighed)
        return cls(sets, embeddings, encoders)

    def modality_galleries(self) -> dict[str, Gallery]:
        """The captures of each modality as items."""
        return {m.value: modality_gallery(s, self.encoders[m]) for m, s in self.sets.items()}

    def fused_galleries(self, recogniser: Recogniser) -> dict[str, Gallery]:
        """Visits as items: score-level fusion, and every fusion of features that there is."""
        return {
            FUSED: fused_gallery(self.sets, self.encoders),
            **feature_galleries(recogniser, self.sets, self.embeddings),
        }


def feature_galleries(
    recogniser: Recogniser,
    sets: Mapping[Modality, CaptureSet],
    embeddings: Mapping[Modality, Float32Array],
) -> dict[str, Gallery]:
    """Visits as items, by every fusion of features that the model has; its own first."""
    kinds = {FUSED_FEATURE: None, **{f"{FUSED_FEATURE}_{k}": k for k in recogniser.other_fusions}}
    return {
        name: feature_gallery(sets, embeddings, partial(recogniser.fuse, kind=kind))
        for name, kind in kinds.items()
    }


def scored(
    recogniser: Recogniser,
    sets: Mapping[Modality, CaptureSet],
    modalities: tuple[Modality, ...] | None = None,
    codes: Mapping[Modality, Sequence[Templates]] | None = None,
) -> Scored:
    """Compare all captures with each other.

    Args:
        recogniser: gives embeddings and calibrated scores.
        sets: captures of subjects the recogniser has not seen.
        modalities: only these, so that two models are scored on the same pairs; all that the
            recogniser knows when None.
        codes: what encoders that are not learned have made of the same captures (`Scored.codes`).
    """
    usable, reasons = usable_sets(recogniser, sets, modalities)
    galleries: dict[str, Gallery] = {}
    if usable:
        embeddings = {modality: recogniser.embed_set(found) for modality, found in usable.items()}
        galleries = recogniser.galleries(usable, embeddings, codes)
        galleries |= feature_galleries(recogniser, usable, embeddings)
    else:
        reasons |= dict.fromkeys(FUSED_NAMES, "no modality has mated pairs")
    return score_galleries(galleries, reasons)


def score_galleries(galleries: Mapping[str, Gallery], reasons: Mapping[str, str]) -> Scored:
    """Compare the items of every gallery with each other."""
    if FUSED in galleries and galleries[FUSED].apart:
        reasons = {**reasons, f"{FUSED}.visits": APART}
    return Scored(
        comparisons={name: compare_all(gallery) for name, gallery in galleries.items()},
        identifications={name: identify(gallery) for name, gallery in galleries.items()},
        reasons=reasons,
        galleries=galleries,
    )


def usable_sets(
    recogniser: Recogniser,
    sets: Mapping[Modality, CaptureSet],
    modalities: tuple[Modality, ...] | None = None,
) -> tuple[dict[Modality, CaptureSet], dict[str, str]]:
    """The modalities that have mated pairs and that the recogniser knows; why others are left."""
    wanted = recogniser.modalities if modalities is None else modalities
    reasons: dict[str, str] = {}
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
    return usable, reasons


def evaluate_sets(
    recogniser: Recogniser, sets: Mapping[Modality, CaptureSet], config: Config
) -> dict[str, Any]:
    """Figures of all comparisons among the captures; see `figures`."""
    return figures(scored(recogniser, sets), config)


@dataclass(frozen=True)
class Measured:
    """The figures of one name (`iris`, `fused`, ...), with their bootstrap replicates.

    Attributes:
        rates: figures with replicates.
        plain: figures without; counts begin with `n_`.
        draws: figures of each random pairing, float64 (R,), where there were several.
    """

    rates: Mapping[str, bootstrap.Resampled]
    plain: Mapping[str, float | int | None]
    draws: Mapping[str, Float64Array] = field(default_factory=dict)

    def record(self, confidence: float) -> dict[str, Any]:
        """As JSON-able figures with `intervals`, and `draws` where there were several."""
        intervals = {name: rate.interval(confidence) for name, rate in self.rates.items()}
        spread = {name: _spread(values) for name, values in self.draws.items()}
        return {
            **{name: interval.value for name, interval in intervals.items()},
            **self.plain,
            "intervals": {name: interval.bounds() for name, interval in intervals.items()},
            **({"draws": spread} if spread else {}),
        }


def _spread(values: Float64Array) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def measure(found: Scored, config: Config) -> dict[str, Measured]:
    """Error rates of every name that has mated and non-mated comparisons, combinations included."""
    rounds = {
        name: Round(one, found.identifications[name], len(one.items), 0, one.n_non_mated)
        for name, one in found.comparisons.items()
    }
    seed = config.evaluation.seed
    rounds |= combinations(found.galleries, seed=seed, repeats=_GAP_REPEATS)
    return measure_rounds({name: [one] for name, one in rounds.items()}, config)


def measure_rounds(rounds: Mapping[str, Sequence[Round]], config: Config) -> dict[str, Measured]:
    """Error rates over all rounds of each name, and of each round where there are several."""
    whole = {
        name: pooled(several, again=True) if len(several) > 1 else several[0]
        for name, several in rounds.items()
    }
    return {
        name: _measured(name, one, rounds[name], config)
        for name, one in whole.items()
        if not error_rates.one_kind(one.comparisons.mated)
    }


def _measured(name: str, whole: Round, rounds: Sequence[Round], config: Config) -> Measured:
    replicates, seed = config.evaluation.bootstrap, config.evaluation.seed
    comparisons = whole.comparisons
    gaps = {"n_probes": whole.probes, "n_failed_to_acquire": whole.lost}
    # Cosines of fused features are no likelihoods, and an encoder's weight is that in the sum.
    likelihood = not name.startswith((FUSED_FEATURE, *(f"{m}_" for m in Modality)))
    rates = bootstrap.error_rates(comparisons, fmrs=FMRS, replicates=replicates, seed=seed)
    carried = [fmr for fmr in FMRS if error_rates.carries(whole.distinct, fmr)]
    kept = {"eer", *(f"fnmr_at_fmr_{fmr:g}" for fmr in carried)}
    nothing = bootstrap.Resampled(None, np.zeros(0))
    return Measured(
        rates={
            **{figure: rate if figure in kept else nothing for figure, rate in rates.items()},
            "rank1": bootstrap.rank1_rate(whole.identification, replicates=replicates, seed=seed),
        },
        plain={
            "auc": error_rates.auc(comparisons.scores, comparisons.mated),
            "cllr": cllr(comparisons.scores, comparisons.mated) if likelihood else None,
            "n_mated": comparisons.n_mated,
            "n_non_mated": comparisons.n_non_mated,
            "n_subjects": len(np.unique(comparisons.subjects)),
            **(gaps if name == MISSING_THIRD else {}),
        },
        draws=_by_draw(rounds) if len(rounds) > 1 else {},
    )


def _by_draw(rounds: Sequence[Round]) -> dict[str, Float64Array]:
    found: dict[str, list[float | None]] = {"eer": [], "rank1": []}
    for one in rounds:
        found["eer"].append(error_rates.eer(one.comparisons.scores, one.comparisons.mated))
        found["rank1"].append(one.identification.rank1)
    return {
        name: np.array(values, dtype=np.float64)
        for name, values in found.items()
        if None not in values
    }


def figures(found: Scored, config: Config) -> dict[str, Any]:
    """Error rates with bootstrap intervals over subjects, JSON-able.

    Returns:
        `iris`, `fingerprint`, `fused` (sum of log-likelihood ratios over what is present) and
        `fused_feature` (the model's feature-level fusion): each a dict with `eer`,
        `fnmr_at_fmr_0.01`, `fnmr_at_fmr_0.001`, `rank1`, `auc`, `cllr`, `n_mated`, `n_non_mated`,
        `n_subjects` and `intervals` ([low, high] by figure), or None; `combinations`, likewise by
        encoder (`iris_embedding`), subset (`both_irises+one_finger`) and `missing_third`, which
        counts probes that lost everything as `n_failed_to_acquire`; and `reasons`, by name, for
        each None. A figure that the comparisons can't carry is None, with a reason
        `<name>.<figure>`.
    """
    return records(measure(found, config), found.reasons, config)


def records(
    measured: Mapping[str, Measured], reasons: Mapping[str, str], config: Config
) -> dict[str, Any]:
    """What `figures` gives, from figures that were measured before."""
    confidence = config.evaluation.confidence
    found = {name: one.record(confidence) for name, one in measured.items()}
    why = dict(reasons)
    for name in NAMES:
        if name not in measured:
            why.setdefault(name, "mated or non-mated pairs are missing")
    why |= {
        f"{name}.{figure}": "too few non-mated pairs to carry this FMR"
        for name, record in found.items()
        for figure, value in record.items()
        if figure.startswith("fnmr") and value is None
    }
    return {
        **{name: found.get(name) for name in NAMES},
        "combinations": {name: one for name, one in found.items() if name not in NAMES},
        "reasons": why,
    }
