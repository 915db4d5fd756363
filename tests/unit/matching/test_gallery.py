import numpy as np
import pytest

from biometric_core.data.capture_sets import CaptureSet, from_columns
from biometric_core.imaging.iris import phase_code
from biometric_core.matching.comparisons import compare_all
from biometric_core.matching.gallery import (
    Encoded,
    feature_gallery,
    fused_gallery,
    modality_gallery,
    visits,
)
from biometric_core.matching.templates import Embeddings
from biometric_core.schemas import Modality

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT
LEFT, RIGHT, THUMB = "left", "right", "left_thumb"


JANUARY, JUNE = "2026-01-01", "2026-06-01"


def captures(
    modality: Modality, rows: list[tuple[str, str, int]], days: list[str] | None = None
) -> CaptureSet:
    """Rows of (subject, position, impression); capture ids sort as given."""
    n = len(rows)
    pixels = np.zeros((n, 16, 16), np.uint8)
    return from_columns(
        modality,
        {
            "capture_id": [f"{modality}{number:03d}" for number in range(n)],
            "subject_id": [row[0] for row in rows],
            "position": [row[1] for row in rows],
            "impression": [row[2] for row in rows],
            "sensor": [""] * n,
            "split": [""] * n,
            "captured_at": [np.datetime64(day, "us") for day in days or [JANUARY] * n],
        },
        pixels,
        pixels,
        np.ones(n, np.float32),
    )


def unit(n, dim=6, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


SETS = {
    IRIS: captures(
        IRIS, [("a", LEFT, 1), ("a", LEFT, 2), ("a", RIGHT, 1), ("b", LEFT, 1), ("b", RIGHT, 2)]
    ),
    FINGER: captures(FINGER, [("a", THUMB, 1), ("a", THUMB, 2), ("b", THUMB, 1), ("c", THUMB, 1)]),
}
EMBEDDINGS = {IRIS: unit(5), FINGER: unit(4, seed=1)}


def encoders(modality, weight=1.0, bias=0.0):
    return [Encoded(Embeddings(EMBEDDINGS[modality]), weight, bias)]


def test_the_two_eyes_of_a_subject_are_two_identities():
    found = compare_all(modality_gallery(SETS[IRIS], encoders(IRIS)))
    mated = {(i, j) for i, j, m in zip(found.first, found.second, found.mated, strict=True) if m}
    assert mated == {(0, 1)}
    assert len(found) == 10  # non-mated over all positions, within and between subjects


def test_scores_are_calibrated():
    raw = compare_all(modality_gallery(SETS[IRIS], encoders(IRIS)))
    found = compare_all(modality_gallery(SETS[IRIS], encoders(IRIS, 3.0, -1.0)))
    np.testing.assert_allclose(found.scores, 3 * raw.scores - 1, atol=1e-5)


def test_visits_group_by_subject_and_impression():
    found = visits(SETS)
    names = [name.replace(f"#{JANUARY}#", "#") for name in found.items.tolist()]
    assert names == ["a#1", "a#2", "b#1", "b#2", "c#1"]
    assert {key: rows.tolist() for key, rows in found.rows.items()} == {
        (FINGER, THUMB): [0, 1, 2, -1, 3],
        (IRIS, LEFT): [0, 1, 3, -1, -1],
        (IRIS, RIGHT): [2, -1, -1, 4, -1],
    }


def test_numbers_that_begin_anew_each_day_make_a_visit_of_each_day():
    rows = [("a", LEFT, 1), ("a", LEFT, 1), ("b", LEFT, 1)]
    fingers = [("a", THUMB, 1), ("a", THUMB, 1), ("b", THUMB, 1)]
    days = [JUNE, f"{JANUARY}T09:00", JANUARY]
    evening = [f"{JANUARY}T23:59", JUNE, JUNE]
    sets = {IRIS: captures(IRIS, rows, days), FINGER: captures(FINGER, fingers, evening)}
    found = visits(sets)
    assert found.items.tolist() == [
        f"a#{JANUARY}#1",
        f"a#{JUNE}#1",
        f"b#{JANUARY}#1",
        f"b#{JUNE}#1",
    ]
    assert {key: rows.tolist() for key, rows in found.rows.items()} == {
        (IRIS, LEFT): [1, 0, 2, -1],
        (FINGER, THUMB): [0, 1, -1, 2],  # b's eye of January meets no finger of June
    }
    encoded = {m: [Encoded(Embeddings(unit(3)))] for m in sets}
    compared = compare_all(fused_gallery(sets, encoded))
    assert compared.n_mated == 1  # the two visits of a; b's have nothing in common


@pytest.mark.parametrize(("day", "apart"), [(JANUARY, False), (JUNE, True)])
def test_visits_of_either_modality_alone_are_apart(day, apart):
    sets = {
        IRIS: captures(IRIS, [("a", LEFT, 1), ("b", LEFT, 1)]),
        FINGER: captures(FINGER, [("a", THUMB, 1), ("b", THUMB, 1)], [day, JUNE]),
    }
    encoded = {m: [Encoded(Embeddings(unit(2)))] for m in sets}
    assert fused_gallery(sets, encoded).apart is apart
    assert not fused_gallery({IRIS: sets[IRIS]}, {IRIS: encoded[IRIS]}).apart


def test_of_two_captures_of_one_impression_the_first_counts():
    found = visits({IRIS: captures(IRIS, [("a", LEFT, 1), ("a", LEFT, 1)])})
    assert found.rows[(IRIS, LEFT)].tolist() == [0]


def test_fused_score_is_the_sum_over_what_both_visits_have():
    both_kinds = {IRIS: encoders(IRIS, 2.0, 0.25), FINGER: encoders(FINGER, 5.0, -1.0)}
    found = compare_all(fused_gallery(SETS, both_kinds))
    scores = {
        tuple(str(found.items[side]).replace(f"#{JANUARY}#", "#") for side in (i, j)): score
        for i, j, score in zip(found.first, found.second, found.scores, strict=True)
    }
    iris, finger = EMBEDDINGS[IRIS], EMBEDDINGS[FINGER]
    both = 2 * iris[0] @ iris[1] + 0.25 + 5 * finger[0] @ finger[1] - 1
    assert scores[("a#1", "a#2")] == pytest.approx(both, abs=1e-5)
    right_only = 2 * iris[2] @ iris[4] + 0.25
    assert scores[("a#1", "b#2")] == pytest.approx(right_only, abs=1e-5)
    assert ("b#1", "b#2") not in scores  # left eye and finger against right eye: nothing in common
    mated = {
        tuple(str(found.items[side]).replace(f"#{JANUARY}#", "#") for side in (i, j))
        for i, j in zip(found.first[found.mated], found.second[found.mated], strict=True)
    }
    assert mated == {("a#1", "a#2")}


def test_feature_fusion_sees_only_what_is_present():
    seen = []

    def fuse(embeddings, present):
        seen.append(present)
        total = sum(
            np.where(present[:, [place]], embeddings[m], 0)
            for place, m in enumerate((IRIS, FINGER))
        )
        return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)

    gallery = feature_gallery(SETS, EMBEDDINGS, fuse)
    assert len(gallery.channels) == 2  # left eye + thumb, right eye + thumb
    assert all(present.any(axis=1).all() for present in seen)
    found = compare_all(gallery)
    assert (np.abs(found.scores) <= 1 + 1e-6).all()
    assert gallery.channels[0].present.tolist() == [True, True, True, False, True]


def test_feature_fusion_of_one_modality_alone():
    def fuse(embeddings, present):
        assert set(embeddings) == {IRIS}
        assert present[:, 0].all()
        assert not present[:, 1].any()
        return embeddings[IRIS]

    sets, embeddings = {IRIS: SETS[IRIS]}, {IRIS: EMBEDDINGS[IRIS]}
    found = compare_all(feature_gallery(sets, embeddings, fuse))
    assert found.n_mated == 1
    assert found.scores[found.mated][0] == pytest.approx(
        float(EMBEDDINGS[IRIS][0] @ EMBEDDINGS[IRIS][1]), abs=1e-6
    )


def test_templates_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        modality_gallery(SETS[IRIS], encoders(FINGER))
    with pytest.raises(ValueError, match="do not fit"):
        fused_gallery(SETS, {IRIS: encoders(IRIS), FINGER: encoders(IRIS)})


def test_scores_of_several_encoders_are_added_and_can_be_told_apart():
    sheets = np.random.default_rng(0).integers(0, 256, (5, 64, 512), dtype=np.uint8)
    codes = Encoded(phase_code.encode(sheets, np.full_like(sheets, 255)), 4.0, -1.0)
    whole = modality_gallery(SETS[IRIS], [*encoders(IRIS), codes])
    alone = [
        whole.only(lambda channel, name=name: channel.templates.encoder == name)
        for name in ("embedding", "phase_code")
    ]
    parts = [gallery.scores(0, 5) for gallery in alone]
    np.testing.assert_allclose(whole.scores(0, 5), parts[0] + parts[1], atol=1e-5)
    expected = 4 * (0.5 - phase_code.distances(codes.templates, codes.templates)) - 1
    np.testing.assert_allclose(parts[1], expected, atol=1e-5)
