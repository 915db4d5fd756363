"""Closed-set classification: which training subject is this, on captures kept out of training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import BoolArray, Float32Array, Float64Array, IntArray, Modality

_MODALITIES = (Modality.IRIS, Modality.FINGERPRINT)


@dataclass(frozen=True)
class ClosedSetFigures:
    """Classification of probes of known subjects; precision, recall and F1 are macro averages.

    Attributes:
        confusion: int64, (C, C), rows truth, columns prediction.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float | None
    samples: int
    confusion: IntArray


def closed_set(probabilities: npt.NDArray[Any], truth: npt.NDArray[Any]) -> ClosedSetFigures | None:
    """Accuracy, macro precision, recall and F1, macro one-against-rest AUC, confusion matrix.

    Macro averages run over the classes that occur in truth or prediction; a class that is never
    predicted has precision 0.

    Args:
        probabilities: (N, C), one column for each class.
        truth: class numbers, (N,), in [0, C).

    Raises:
        ValueError: shapes differ, a class number is out of range, or a value is not finite.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    scores = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(truth, dtype=np.int64)
    if scores.ndim != 2 or len(scores) != len(labels):
        raise ValueError(f"probabilities {scores.shape} must be (N, C) for {len(labels)} labels")
    if not np.isfinite(scores).all():
        raise ValueError("probabilities hold values that are not finite")
    if not len(labels):
        return None
    classes = scores.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"a class number lies outside 0..{classes - 1}")
    predicted = scores.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    return ClosedSetFigures(
        accuracy=float(accuracy_score(labels, predicted)),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        auc=_macro_auc(scores, labels),
        samples=len(labels),
        confusion=confusion_matrix(labels, predicted, labels=range(classes)).astype(np.int64),
    )


def _macro_auc(scores: Float64Array, labels: IntArray) -> float | None:
    """One class against the rest, over the classes that occur; None where only one does."""
    from sklearn.metrics import roc_auc_score

    occurring = np.unique(labels)
    if len(occurring) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == one, scores[:, one]) for one in occurring]))


def classify(
    recogniser: Recogniser, sets: Mapping[Modality, CaptureSet]
) -> tuple[Float32Array, npt.NDArray[np.str_]]:
    """Subject probabilities of probes made of one capture of each modality that is there.

    A subject's k-th iris of a day goes with its k-th finger of that day, so that each capture
    occurs once; what is left over stands alone.

    Args:
        recogniser: whose feature-level fusion and subject head are asked.
        sets: prepared captures.

    Returns:
        float32 (N, S), columns in the order of `recogniser.subjects`, and each probe's true
        subject, str (N,).
    """
    known = {m: sets[m] for m in recogniser.modalities if m in sets and len(sets[m])}
    rows = list(_probes(known))
    if not rows:
        return np.zeros((0, len(recogniser.subjects)), np.float32), np.zeros(0, np.str_)
    index: IntArray = np.array([pair for _, pair in rows], dtype=np.int64)
    present: BoolArray = index >= 0
    embeddings = {m: recogniser.embed_set(captures) for m, captures in known.items()}
    aligned = {m: embeddings[m][index[:, _MODALITIES.index(m)]] for m in known}
    truth = np.array([subject for subject, _ in rows], dtype=np.str_)
    return recogniser.closed_set(aligned, present), truth


def _probes(sets: Mapping[Modality, CaptureSet]) -> Iterator[tuple[str, list[int]]]:
    found: dict[tuple[str, date], dict[Modality, list[int]]] = {}
    for modality, captures in sets.items():
        days = captures.captured_at.astype("datetime64[D]").tolist()
        for row, key in enumerate(zip(captures.subject_id.tolist(), days, strict=True)):
            found.setdefault(key, {}).setdefault(modality, []).append(row)
    for (subject, _), rows_of in sorted(found.items()):
        own = [rows_of.get(modality, []) for modality in _MODALITIES]
        for number in range(max(len(rows) for rows in own)):
            yield subject, [rows[number] if number < len(rows) else -1 for rows in own]


def closed_set_figures(
    recogniser: Recogniser, sets: Mapping[Modality, CaptureSet]
) -> ClosedSetFigures | None:
    """Accuracy, macro precision, recall, F1 and AUC, and the confusion matrix.

    Args:
        recogniser: trained on the subjects of `sets`.
        sets: captures of training subjects that were kept out of training; others are left out.

    Returns:
        None where there is no such capture.
    """
    labels = {subject: number for number, subject in enumerate(recogniser.subjects)}
    probabilities, subjects = classify(recogniser, sets)
    trained: BoolArray = np.isin(subjects, recogniser.subjects)
    truth = np.array([labels[str(subject)] for subject in subjects[trained]], dtype=np.int64)
    return closed_set(probabilities[trained], truth)


def as_metrics(figures: ClosedSetFigures) -> dict[str, Any]:
    """The numbers without the matrix, JSON-able."""
    return {name: value for name, value in vars(figures).items() if name != "confusion"}
