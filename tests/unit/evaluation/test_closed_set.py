from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.evaluation.closed_set import (
    as_metrics,
    classify,
    closed_set,
    closed_set_figures,
)
from biometric_core.matching import error_rates
from biometric_core.schemas import Modality
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from tests.support.toys import toy_config, toy_sets

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


@pytest.fixture(scope="module")
def recogniser():
    config = toy_config(epochs=30, patience=30)
    return recogniser_of(fit(toy_sets(5), {}, config), {}, config)


def test_held_out_captures_of_training_subjects_are_recognised(recogniser):
    figures = closed_set_figures(recogniser, toy_sets(5, seed=1))
    assert figures.samples == 15  # three irises with three fingers each
    assert figures.accuracy > 0.6  # chance is 0.2
    assert figures.confusion.shape == (5, 5)
    assert set(as_metrics(figures)) == {"accuracy", "precision", "recall", "f1", "auc", "samples"}


def test_labels_follow_the_names_not_the_order_of_what_is_evaluated(recogniser):
    sets = toy_sets(5, seed=1)
    whole, truth = classify(recogniser, sets)
    # only the last two subjects: their columns must be the same ones
    some = {
        m: found.select(np.isin(found.subject_id, ["s003", "s004"])) for m, found in sets.items()
    }
    part, names = classify(recogniser, some)
    rows = np.isin(truth, ["s003", "s004"])
    np.testing.assert_allclose(part, whole[rows], atol=1e-5)
    assert names.tolist() == truth[rows].tolist()
    figures = closed_set_figures(recogniser, some)
    assert figures.confusion[:3].sum() == 0
    assert figures.confusion[3:].sum() == 6


def test_each_capture_occurs_once_and_missing_modalities_are_masked(recogniser):
    sets = toy_sets(5, seed=1)
    iris_only = {IRIS: sets[IRIS]}
    probabilities, truth = classify(recogniser, iris_only)
    assert len(truth) == 15
    fewer = {IRIS: sets[IRIS], FINGER: sets[FINGER].select(sets[FINGER].impression == 0)}
    mixed, _ = classify(recogniser, fewer)
    assert len(mixed) == 15  # 5 with both, 10 irises alone
    alone = (np.abs(mixed - probabilities).max(axis=1) < 1e-5).sum()
    assert alone == 10


def test_an_iris_and_a_finger_of_different_days_are_two_probes(recogniser):
    sets = toy_sets(5, seed=1)
    later = replace(sets[FINGER], captured_at=sets[FINGER].captured_at + np.timedelta64(30, "D"))
    whole, truth = classify(recogniser, {IRIS: sets[IRIS], FINGER: later})
    assert len(truth) == 30
    alone = [classify(recogniser, {m: sets[m]})[0] for m in (IRIS, FINGER)]
    np.testing.assert_allclose(np.sort(whole, axis=0), np.sort(np.concatenate(alone), axis=0))


def test_strangers_are_left_out(recogniser):
    assert closed_set_figures(recogniser, toy_sets(3, first=50)) is None
    assert closed_set_figures(recogniser, {}) is None


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_closed_set_figures_are_those_of_the_confusion_matrix(classes, samples, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, 5, (samples, classes)) / 5 + 1e-3 * rng.random((1, classes))
    truth = rng.integers(0, classes, samples)
    found = closed_set(probabilities, truth)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (truth, probabilities.argmax(axis=1)), 1)
    assert (found.confusion == confusion).all()
    assert found.samples == samples
    hits = np.diag(confusion)
    actual, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = (actual + predicted) > 0
    assert found.accuracy == pytest.approx(hits.sum() / samples)
    assert found.precision == pytest.approx((hits / np.maximum(predicted, 1))[seen].mean())
    assert found.recall == pytest.approx((hits / np.maximum(actual, 1))[seen].mean())
    assert found.f1 == pytest.approx((2 * hits / np.maximum(actual + predicted, 1))[seen].mean())
    areas = [error_rates.auc(probabilities[:, one], truth == one) for one in np.unique(truth)]
    known = [area for area in areas if area is not None]
    assert found.auc == (pytest.approx(np.mean(known)) if known else None)


def test_closed_set_refuses_what_it_cannot_count():
    assert closed_set(np.zeros((0, 3)), np.zeros(0, int)) is None
    with pytest.raises(ValueError, match="outside"):
        closed_set(np.ones((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="finite"):
        closed_set(np.array([[np.nan, 1.0]]), np.array([0]))
