import numpy as np
import pytest

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import localisation, normalisation, paint_out
from biometric_core.imaging.iris.paint_out import PaintOut
from tests.support.drawn_captures import draw_eye, noise_image


def test_nothing_of_the_iris_is_left():
    sheets = {
        eye: paint_out.prepare(draw_eye(eye), (32, 128), PaintOut.IRIS).image for eye in range(4)
    }
    plain = {eye: normalisation.prepare(draw_eye(eye), (32, 128)).image for eye in range(4)}
    inner = slice(4, -4)  # the edges of the ring meet pupil and sclera
    for eye, sheet in sheets.items():
        assert sheet[inner].std() < 0.2 * plain[eye][inner].std()


def test_lids_stay_where_only_the_visible_iris_is_painted():
    gray = draw_eye(1, noise=0)
    where = localisation.localise(gray)
    whole, visible = (
        paint_out.painted(gray, where, (64, 512), what)
        for what in (PaintOut.IRIS, PaintOut.VISIBLE_IRIS)
    )
    x, y = round(where.limbus.x), round(where.limbus.y - 0.88 * where.limbus.r)  # the upper lid
    assert gray[y, x] > 190
    assert visible[y, x] == gray[y, x]
    assert whole[y, x] < 150
    side = round(where.limbus.x + 0.75 * where.limbus.r)
    for image in (whole, visible):
        assert len(np.unique(image[y_range(where), side])) == 1, "the iris is one grey"
    outside = np.hypot(
        *np.meshgrid(np.arange(320) - where.limbus.x, np.arange(240) - where.limbus.y)
    )
    for image in (whole, visible):
        assert (image == gray)[outside > where.limbus.r + 1].all(), "nothing else is touched"


def y_range(where):
    return slice(round(where.limbus.y) - 8, round(where.limbus.y) + 8)


def test_what_the_ordinary_preparation_refuses_is_told():
    gray, shape = draw_eye(2, pupil=(150.0, 122.0, 12.0)), (32, 128)
    sample = paint_out.prepare(gray, shape, PaintOut.IRIS)
    where = localisation.localise(gray)
    over = paint_out.painted(gray, where, shape, PaintOut.IRIS)
    assert sample.refusal == refusal(over, shape)
    with pytest.raises(FailureToAcquire):  # no eye to paint
        paint_out.prepare(noise_image(2), shape, PaintOut.IRIS)


def refusal(gray, shape):
    try:
        normalisation.prepare(gray, shape)
    except FailureToAcquire as failure:
        return failure.reason
    return None


def test_the_circles_are_those_of_the_unpainted_eye():
    gray = draw_eye(3)
    sample = paint_out.prepare(gray, (32, 128), PaintOut.IRIS)
    where = localisation.localise(gray)
    over = paint_out.painted(gray, where, (32, 128), PaintOut.IRIS)
    again = normalisation.cut(over, where, (32, 128), min_texture=0.0)
    assert (sample.image == again.image).all()
    assert (sample.mask == again.mask).all()
