import numpy as np
import pytest

from biometric_core.matching import templates
from biometric_core.matching.templates import Compared, Embeddings


@pytest.fixture
def vectors() -> Embeddings:
    found = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)
    return Embeddings(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.mark.parametrize("block", [3, 4, 100])
def test_kept_comparisons_are_those_of_the_templates(vectors, block, monkeypatch):
    monkeypatch.setattr(templates, "_BLOCK", block)
    kept = Compared.of(vectors)
    assert (len(kept), kept.encoder) == (11, "embedding")
    rows = np.array([10, 0, 0, 4])
    expected = vectors.take(rows).similarities(vectors)
    np.testing.assert_allclose(kept.take(rows).similarities(kept), expected, atol=1e-6)
    np.testing.assert_allclose(
        kept.take(rows).take(np.array([3])).similarities(kept)[0], expected[3], atol=1e-6
    )


def test_no_pair_is_compared_twice(vectors, monkeypatch):
    monkeypatch.setattr(templates, "_BLOCK", 4)
    pairs = []
    real = Embeddings.similarities

    def counted(self, references):
        pairs.append(len(self) * len(references))
        return real(self, references)

    monkeypatch.setattr(Embeddings, "similarities", counted)
    Compared.of(vectors)
    assert sum(pairs) == 4 * 11 + 4 * 7 + 3 * 3
