import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.imaging.iris import normalisation, phase_code
from tests.support.drawn_captures import REAL_SUBJECTS, draw_eye, real_images


def random_sheets(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 64, 512), dtype=np.uint8)


def full(n):
    return np.full((n, 64, 512), 255, np.uint8)


def test_a_code_has_distance_zero_to_itself_up_to_normalisation():
    codes = phase_code.encode(random_sheets(3), full(3))
    found = phase_code.distances(codes, codes)
    bits = np.abs(codes.signs).reshape(3, -1).sum(1)
    expected = 0.5 - 0.5 * np.sqrt(bits / phase_code.TYPICAL_BITS)
    np.testing.assert_allclose(np.diag(found), expected, atol=1e-5)


def test_unrelated_codes_are_about_half_apart():
    codes = phase_code.encode(random_sheets(20), full(20))
    found = phase_code.distances(codes, codes, shifts=(0,))
    assert abs(found[~np.eye(20, dtype=bool)].mean() - 0.5) < 0.01


@given(st.integers(-16, 16))
@settings(max_examples=12, deadline=None)
def test_a_turned_eye_matches_at_its_shift_only(shift):
    sheets = random_sheets(1)
    turned = np.roll(sheets, 2 * shift, axis=2)
    one, other = phase_code.encode(sheets, full(1)), phase_code.encode(turned, full(1))
    alone = phase_code.distances(one, one, shifts=(0,))[0, 0]
    assert phase_code.distances(one, other)[0, 0] == pytest.approx(alone, abs=1e-4)
    wrong = (shift + 5,)
    assert phase_code.distances(one, other, shifts=wrong)[0, 0] > 0.35


def test_distances_agree_with_a_bit_by_bit_count():
    rng = np.random.default_rng(3)
    shape = (2, phase_code.ROWS, phase_code.COLUMNS)
    a = phase_code.PhaseCodes(rng.integers(-1, 2, (4, *shape)).astype(np.float32))
    b = phase_code.PhaseCodes(rng.integers(-1, 2, (3, *shape)).astype(np.float32))
    found = phase_code.distances(a, b, shifts=(-1, 0, 2))
    for i in range(4):
        for j in range(3):
            options = []
            for shift in (-1, 0, 2):
                left, right = np.roll(a.signs[i], shift, -1), b.signs[j]
                both = (left != 0) & (right != 0)
                raw = np.mean(left[both] != right[both])
                options.append(0.5 - (0.5 - raw) * np.sqrt(both.sum() / phase_code.TYPICAL_BITS))
            assert found[i, j] == pytest.approx(min(options), abs=1e-5)


def test_masked_cells_do_not_count():
    sheets = random_sheets(1)
    mask = full(1)
    mask[:, :, 100:300] = 0
    other = sheets.copy()
    other[:, :, 100:300] = random_sheets(1, 9)[:, :, 100:300]
    one, two = phase_code.encode(sheets, mask), phase_code.encode(other, mask)
    np.testing.assert_array_equal(one.signs, two.signs)
    assert not one.signs[..., 51:149].any()


def test_nothing_in_common_is_a_non_match_and_nothing_at_all_is_no_crash():
    codes = phase_code.encode(random_sheets(1), np.zeros((1, 64, 512), np.uint8))
    assert phase_code.distances(codes, codes)[0, 0] == pytest.approx(0.5)
    none = phase_code.encode(random_sheets(0), full(0))
    assert phase_code.distances(none, codes).shape == (0, 1)


def test_drawn_eyes_match_themselves_through_turns_dilation_and_noise():
    samples = []
    for eye in range(6):
        samples.append(normalisation.prepare(draw_eye(eye)))
        pupil, limbus = (140.0, 118.0, 26.0), (141.0, 119.0, 50.0)
        samples.append(
            normalisation.prepare(draw_eye(eye, pupil, limbus, turn=0.12, seed=1, noise=3))
        )
    codes = phase_code.encode(
        np.stack([s.image for s in samples]), np.stack([s.mask for s in samples])
    )
    found = phase_code.distances(codes, codes)
    eyes = np.arange(12) // 2
    same = (eyes[:, None] == eyes[None]) & ~np.eye(12, dtype=bool)
    assert found[same].max() < found[eyes[:, None] != eyes[None]].min()


if REAL_SUBJECTS.is_file():

    def test_real_eyes_are_told_apart():
        identities, samples = [], []
        for name, gray in list(real_images(REAL_SUBJECTS, ".bmp"))[:100]:
            identities.append(tuple(name.split("/")[-3:-1]))
            samples.append(normalisation.prepare(gray))
        codes = phase_code.encode(
            np.stack([s.image for s in samples]), np.stack([s.mask for s in samples])
        )
        found = phase_code.distances(codes, codes)
        names = np.unique(["/".join(i) for i in identities], return_inverse=True)[1]
        same = names[:, None] == names[None]
        upper = np.triu(np.ones_like(same), 1)
        mated, other = found[same & upper], found[~same & upper]
        thresholds = np.sort(np.concatenate([mated, other]))
        fnmr = np.array([(mated > t).mean() for t in thresholds])
        fmr = np.array([(other <= t).mean() for t in thresholds])
        assert np.min(np.maximum(fnmr, fmr)) < 0.05
