import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.evaluation.figures import FMRS
from biometric_core.matching import bootstrap, error_rates
from biometric_core.matching.calibration import cllr
from biometric_core.matching.comparisons import Comparisons, compare_all, identify
from biometric_core.matching.gallery import Channel, Gallery
from biometric_core.matching.templates import Embeddings


def people(seed, subjects, captures=4, noise=0.6, dim=24, eyes=2):
    """Comparisons and identification of people whose captures scatter around a prototype."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"s{i:03d}" for i in range(subjects)], eyes * captures)
    labels = np.array([f"{n}/{k // captures % eyes}" for k, n in enumerate(names)])
    _, codes = np.unique(labels, return_inverse=True)
    vectors = rng.normal(size=(codes.max() + 1, dim))[codes]
    vectors = vectors + noise * dim**0.5 / 4 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = np.array([f"c{i}" for i in range(len(names))])
    channel = Channel(Embeddings(vectors.astype(np.float32)), np.ones(len(names), bool))
    gallery = Gallery(items, names, labels, (channel,))
    return compare_all(gallery), identify(gallery)


def expanded(comparisons, draws, names):
    """Scores and labels in which each pair stands as often as its weight says: brute force."""
    counts = dict(zip(names, draws, strict=True))
    scores, mated = [], []
    rows = zip(
        comparisons.scores,
        comparisons.mated,
        comparisons.subject_a,
        comparisons.subject_b,
        strict=True,
    )
    for score, is_mated, a, b in rows:
        n = len(names)  # times n, to stay with whole numbers
        times = int(counts[a] * (n - 1) if a == b else counts[a] * counts[b] * n)
        scores += [score] * times
        mated += [is_mated] * times
    return np.array(scores), np.array(mated, dtype=bool)


@given(st.integers(0, 500), st.booleans())
@settings(max_examples=25, deadline=None)
def test_each_replicate_is_the_figure_of_the_drawn_subjects(seed, ties):
    comparisons, _ = people(seed, subjects=4, captures=2)
    if ties:
        rounded = np.round(comparisons.scores, 1)
        comparisons = Comparisons(**{**vars(comparisons), "scores": rounded})
    names = np.unique(comparisons.subjects)
    draws = next(bootstrap._draws(4, 6, seed, 1000))
    found = bootstrap.error_rates(comparisons, fmrs=(0.1,), replicates=6, seed=seed)
    for number, draw in enumerate(draws):
        scores, mated = expanded(comparisons, draw, names)
        expected = error_rates.eer(scores, mated)
        assert found["eer"].drawn[number] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        curve = error_rates.det_curve(scores, mated)
        index = error_rates.operating_index(curve.fmr, 0.1)
        drawn = found["fnmr_at_fmr_0.1"].drawn[number]
        assert drawn == pytest.approx(curve.fnmr[index], abs=1e-9)


def resampled_eer(comparisons, **settings):
    return bootstrap.error_rates(comparisons, fmrs=(), **settings)["eer"]


def test_values_are_the_plain_figures_and_lie_in_their_intervals():
    comparisons, identification = people(1, subjects=15)
    found = bootstrap.error_rates(comparisons, fmrs=FMRS, replicates=200, seed=0)
    found["rank1"] = bootstrap.rank1_rate(identification, replicates=200, seed=0)
    assert found["eer"].value == error_rates.eer(comparisons.scores, comparisons.mated)
    for fmr in FMRS:
        value = error_rates.fnmr_at_fmr(comparisons.scores, comparisons.mated, fmr)
        assert found[f"fnmr_at_fmr_{fmr:g}"].value == value
    for figure in found.values():
        interval = figure.interval(0.95)
        assert interval.low <= interval.value <= interval.high
        narrower = figure.interval(0.5)
        assert interval.low <= narrower.low <= narrower.high <= interval.high


def test_an_interval_over_subjects_covers_the_truth():
    # The truth is the EER of a large population; 60 samples of 12 people each.
    truth = resampled_eer(people(999, 250, captures=2)[0], replicates=10, seed=0).value
    covered = 0
    for seed in range(60):
        figure = resampled_eer(people(seed, 12, captures=3)[0], replicates=150, seed=seed)
        interval = figure.interval(0.9)
        covered += interval.low <= truth <= interval.high
    assert covered >= 45  # 54 expected


def test_the_same_seed_gives_the_same_interval_whatever_the_chunks(monkeypatch):
    comparisons, _ = people(2, subjects=6)
    one = resampled_eer(comparisons, replicates=50, seed=4).drawn
    monkeypatch.setattr(bootstrap, "_CHUNK_VALUES", 1)
    two = resampled_eer(comparisons, replicates=50, seed=4).drawn
    np.testing.assert_array_equal(one, two)
    assert (one != resampled_eer(comparisons, replicates=50, seed=5).drawn).any()


def test_one_subject_or_one_kind_gives_no_interval():
    comparisons, identification = people(0, subjects=1)
    figure = resampled_eer(comparisons, replicates=20, seed=0)
    assert figure.value is not None
    assert figure.interval(0.95).bounds() is None
    assert bootstrap.rank1_rate(identification, replicates=20, seed=0).interval(0.9).low is None
    mated = Comparisons(
        np.array([1.0]),
        np.array([True]),
        np.array([0]),
        np.array([1]),
        np.array(["x", "y"]),
        np.array(["a", "a"]),
    )
    figures = bootstrap.error_rates(mated, fmrs=FMRS, replicates=20, seed=0)
    assert all(f.interval(0.95) == bootstrap.Interval(None, None, None) for f in figures.values())
    nothing = bootstrap.cllr_rate(mated, replicates=20, seed=0)
    assert nothing.interval(0.95) == bootstrap.Interval(None, None, None)
    assert bootstrap.difference(nothing, nothing).interval(0.95).value is None
    alone = bootstrap.cllr_rate(comparisons, replicates=20, seed=0)
    assert alone.value is not None
    assert alone.interval(0.95).bounds() is None


def with_noise(comparisons, sigma, seed=0):
    noise = sigma * np.random.default_rng(seed).normal(size=len(comparisons))
    return Comparisons(**{**vars(comparisons), "scores": comparisons.scores + noise})


def difference(champion, challenger, confidence=0.95, **settings):
    before, after = (resampled_eer(one, **settings) for one in (champion, challenger))
    return bootstrap.difference(after, before).interval(confidence)


def test_a_worse_model_is_found_worse_and_an_equal_one_is_not():
    comparisons, _ = people(3, subjects=15)
    settings = {"replicates": 300, "seed": 1}
    worse = difference(comparisons, with_noise(comparisons, 0.5), **settings)
    assert 0 < worse.low <= worse.value <= worse.high
    better = difference(with_noise(comparisons, 0.5), comparisons, **settings)
    assert (better.low, better.value, better.high) == pytest.approx(
        (-worse.high, -worse.value, -worse.low)
    )
    same = difference(comparisons, comparisons, **settings)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    # any rescaling that keeps the order changes nothing
    scaled = Comparisons(**{**vars(comparisons), "scores": 7 * comparisons.scores - 100})
    assert difference(comparisons, scaled, **settings).high == pytest.approx(0)


def test_pairing_makes_the_interval_narrower_than_two_separate_ones():
    comparisons, _ = people(4, subjects=15)
    other = with_noise(comparisons, 0.02)
    paired = difference(comparisons, other, replicates=200, seed=0)
    alone = resampled_eer(comparisons, replicates=200, seed=0).interval(0.95)
    assert paired.high - paired.low < (alone.high - alone.low) / 2


@pytest.mark.parametrize("others", [[], ["a", "zz"]])
def test_cllr_is_resampled_as_its_formula_says_with_the_subjects_weights(others):
    comparisons, _ = people(5, subjects=6)
    names = np.unique([*comparisons.subjects, *others])  # of whom another modality has captures
    found = bootstrap.cllr_rate(comparisons, replicates=40, seed=3, people=names)
    assert found.value == pytest.approx(cllr(comparisons.scores, comparisons.mated))
    codes, n = np.searchsorted(names, comparisons.subjects), len(names)
    first, second = codes[comparisons.first], codes[comparisons.second]
    counts = np.random.default_rng(3).multinomial(n, np.full(n, 1 / n), size=40)
    for drawn, value in zip(counts, found.drawn, strict=True):
        weights = np.where(
            first == second, drawn[first] * (n - 1) / n, drawn[first] * drawn[second]
        )
        costs = np.logaddexp(0, np.where(comparisons.mated, -1, 1) * comparisons.scores)
        kinds = [
            np.average(costs[kind], weights=weights[kind])
            for kind in (comparisons.mated, ~comparisons.mated)
        ]
        assert value == pytest.approx(np.mean(kinds) / np.log(2))


def test_mean_over_folds_is_resampled_within_each():
    parts = [resampled_eer(people(seed, 8)[0], replicates=300, seed=seed) for seed in range(3)]
    mean = bootstrap.mean_of(parts)
    assert mean.value == pytest.approx(np.mean([part.value for part in parts]))
    assert mean.drawn.std() == pytest.approx(
        np.sqrt(sum(part.drawn.var() for part in parts)) / 3, rel=0.2
    )
    assert bootstrap.mean_of([*parts, bootstrap.Resampled(None, np.zeros(0))]).value is None


def test_a_fold_that_cannot_be_drawn_again_leaves_the_mean_without_an_interval():
    parts = [bootstrap.Resampled(0.1, np.full(9, 0.1)), bootstrap.Resampled(0.3, np.zeros(0))]
    mean = bootstrap.mean_of(parts)
    assert mean.value == pytest.approx(0.2)
    assert mean.interval(0.95).bounds() is None


@pytest.mark.slow
def test_five_hundred_replicates_of_twenty_thousand_pairs_take_seconds():
    comparisons, _ = people(5, subjects=20, captures=5)
    assert len(comparisons) == 19_900
    start = time.process_time()
    bootstrap.error_rates(comparisons, fmrs=FMRS, replicates=500, seed=0)
    assert time.process_time() - start < 5
