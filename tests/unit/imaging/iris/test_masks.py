import numpy as np
import pytest

from biometric_core.imaging.iris import masks, rubber_sheet
from biometric_core.imaging.iris.localisation import localise
from tests.support.drawn_captures import draw_eye


def masked(gray):
    where = localise(gray)
    x, y = rubber_sheet.coordinates(where, (64, 512))
    sheet = rubber_sheet.unwrap(gray, x, y)
    return masks.usable(sheet, x, y, where) > 0, x, y, where


def test_the_lids_that_were_drawn_are_masked_and_little_else():
    usable, x, y, where = masked(draw_eye())
    u = (x - where.limbus.x) / where.limbus.r
    v = (y - where.limbus.y) / where.limbus.r
    lid = (v < -0.75 + 0.3 * u * u) | (v > 0.95 - 0.25 * u * u)
    assert usable[lid].mean() < 0.1
    assert usable[~lid].mean() > 0.85


def test_an_open_eye_stays_usable():
    usable, *_ = masked(draw_eye(lids=False))
    assert usable.mean() > 0.93


@pytest.mark.parametrize("level", [5, 250])
def test_a_lash_or_a_reflection_is_masked_where_it_lies(level):
    gray = draw_eye(lids=False)
    gray[150:170, 118:122] = level
    usable, x, y, _ = masked(gray)
    spot = (x > 118) & (x < 121) & (y > 151) & (y < 169)
    assert spot.sum() > 20
    assert usable[spot].mean() < 0.2
    assert usable[~spot].mean() > 0.9


def test_deviation_is_zero_mean_on_the_sides_and_wraps_no_scale():
    rng = np.random.default_rng(0)
    sheet = np.clip(rng.normal(100, 10, (64, 512)), 0, 255).astype(np.uint8)
    deviation = masks.normal_deviation(sheet)
    assert abs(np.median(deviation)) < 0.1
    assert 0.9 < np.std(deviation) < 1.1


@pytest.mark.parametrize("seed", range(20))
def test_the_best_lid_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, 1500)).astype(np.float32)
    likeness = rng.uniform(-2, 1, 1500).astype(np.float32)
    reach = v < 0.35
    curves = masks._parabolas()
    a, b, c = (column[:, None] for column in curves.T)
    covered = (v < a + b * u + c * u * u) & reach
    lost = np.where(covered, likeness, 0).sum(axis=1, dtype=np.float64)
    assert masks._best_lid(likeness, u, v) == tuple(curves[np.argmin(lost)])
