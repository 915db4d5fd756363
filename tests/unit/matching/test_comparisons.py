import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.matching import error_rates
from biometric_core.matching.comparisons import Comparisons, compare_all, identify
from biometric_core.matching.gallery import Channel, Gallery
from biometric_core.matching.templates import Embeddings


def gallery_of(embeddings, labels, subjects=None, items=None):
    embeddings = np.asarray(embeddings, np.float32)
    n = len(embeddings)
    return Gallery(
        items=np.array([f"c{i}" for i in range(n)] if items is None else items),
        subjects=np.asarray(labels if subjects is None else subjects),
        labels=np.asarray(labels),
        channels=(Channel(Embeddings(embeddings), np.ones(n, bool)),),
    )


def unit(rng, n, dim=8):
    vectors = rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=14), st.integers(0, 99))
@settings(max_examples=40)
def test_every_pair_once_and_nothing_with_itself(labels, seed):
    vectors = unit(np.random.default_rng(seed), len(labels))
    found = compare_all(gallery_of(vectors, np.array(labels, dtype=str)))
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert sorted(pairs) == [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels))]
    for score, mated, (i, j) in zip(found.scores, found.mated, pairs, strict=True):
        assert score == pytest.approx(float(vectors[i] @ vectors[j]), abs=1e-6)
        assert mated == (labels[i] == labels[j])


def test_pairs_do_not_depend_on_the_block_size(monkeypatch):
    gallery = gallery_of(unit(np.random.default_rng(0), 50), np.repeat(list("abcdefghij"), 5))
    whole, ranks = compare_all(gallery), identify(gallery).ranks
    monkeypatch.setattr("biometric_core.matching.comparisons._BLOCK", 7)
    blocks = compare_all(gallery)
    assert whole.same_pairs(blocks)
    np.testing.assert_allclose(whole.scores, blocks.scores, atol=1e-6)
    assert sorted(identify(gallery).ranks) == sorted(ranks)


def test_copies_of_the_same_bytes_are_never_compared():
    vectors = unit(np.random.default_rng(0), 4)
    vectors[1] = vectors[0]
    gallery = gallery_of(vectors, ["a", "a", "a", "b"], items=["x", "x", "y", "z"])
    found = compare_all(gallery)
    assert len(found) == 5
    assert (0, 1) not in set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    # as a probe, the copy of the gallery image is left out as well
    assert len(identify(gallery).ranks) == 2 + 2 + 1 - 1


def test_a_limit_keeps_every_mated_pair_and_the_same_sample_for_every_model():
    labels = np.repeat([f"i{k:02d}" for k in range(40)], 3)
    galleries = [gallery_of(unit(np.random.default_rng(s), 120), labels) for s in (1, 2)]
    one, two = (compare_all(gallery, max_non_mated=1000, seed=3) for gallery in galleries)
    assert one.same_pairs(two)
    assert one.n_mated == 40 * 3
    assert 850 < one.n_non_mated < 1150
    assert not one.same_pairs(compare_all(galleries[0], max_non_mated=1000, seed=4))


def test_pairs_without_anything_in_common_are_left_out():
    rng = np.random.default_rng(0)
    left = Channel(Embeddings(unit(rng, 3)), np.array([True, True, False]), 2.0, 0.5)
    right = Channel(Embeddings(unit(rng, 3)), np.array([True, False, True]), 3.0, -0.5)
    names = np.array(["a#1", "a#2", "b#1"])
    subjects = np.array(["a", "a", "b"])
    found = compare_all(Gallery(names, subjects, subjects, (left, right)))
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1), (0, 2)]
    expected = [
        2 * left.templates.vectors[0] @ left.templates.vectors[1] + 0.5,
        3 * right.templates.vectors[0] @ right.templates.vectors[2] - 0.5,
    ]
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_garbage_under_absent_items_changes_nothing():
    vectors = unit(np.random.default_rng(0), 3)
    vectors[2] = np.nan
    channel = Channel(Embeddings(vectors), np.array([True, True, False]))
    subjects = np.array(["a", "b", "c"])
    found = compare_all(Gallery(subjects, subjects, subjects, (channel,)))
    assert len(found) == 1
    assert np.isfinite(found.scores).all()


def brute_rank1(vectors, labels):
    """Rank-1 over all rounds, straight from the definition."""
    members = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    hits = []
    for number in range(max(len(rows) for rows in members.values())):
        gallery = [rows[number % len(rows)] for rows in members.values()]
        for probe in range(len(labels)):
            own = [g for g in gallery if labels[g] == labels[probe]]
            if own[0] == probe:
                continue
            others = [vectors[probe] @ vectors[g] for g in gallery if labels[g] != labels[probe]]
            hits.append(all(vectors[probe] @ vectors[own[0]] > score for score in others))
    return np.mean(hits)


def test_identification_uses_one_gallery_image_for_each_identity_in_turn():
    rng = np.random.default_rng(5)
    labels = np.array(["a"] * 4 + ["b"] * 2 + ["c"] + ["d"] * 3)
    vectors = unit(rng, len(labels), dim=3)
    found = identify(gallery_of(vectors, labels))
    assert found.rank1 == pytest.approx(brute_rank1(vectors.astype(np.float64), labels))
    assert set(found.subjects) == {"a", "b", "d"}


def test_identification_of_nobody():
    vectors = unit(np.random.default_rng(0), 3)
    assert identify(gallery_of(vectors, ["a", "b", "c"])).rank1 is None
    assert identify(gallery_of(vectors[:0], np.zeros(0, str))).rank1 is None
    assert len(compare_all(gallery_of(vectors[:0], np.zeros(0, str)))) == 0


def test_permuted_identities_are_recognised_no_better_than_by_chance():
    rng = np.random.default_rng(11)
    labels = np.repeat([f"i{k}" for k in range(30)], 5)
    prototypes = unit(rng, 30, 32)
    vectors = np.repeat(prototypes, 5, axis=0) + 0.1 * rng.normal(size=(150, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    true = compare_all(gallery_of(vectors, labels))
    assert error_rates.eer(true.scores, true.mated) < 0.01
    permuted = compare_all(gallery_of(vectors, rng.permutation(labels)))
    assert error_rates.eer(permuted.scores, permuted.mated) == pytest.approx(0.5, abs=0.06)


def test_comparisons_check_themselves():
    names = np.array(["a", "b"])
    one, zero = np.array([1]), np.array([0])
    with pytest.raises(ValueError, match="finite"):
        Comparisons(np.array([np.nan]), np.array([True]), zero, one, names, names)
    with pytest.raises(ValueError, match="length"):
        Comparisons(np.array([1.0]), np.array([True]), zero, np.array([0, 1]), names, names)
    with pytest.raises(ValueError, match="length"):
        Comparisons(np.array([1.0]), np.array([True]), zero, one, names, names[:1])
