import numpy as np

from biometric_core.imaging.iris import rubber_sheet
from biometric_core.imaging.iris.circles import Circle
from biometric_core.imaging.iris.localisation import IrisLocation

WHERE = IrisLocation(Circle(60, 50, 10), Circle(62, 49, 30), 30.0, 30.0)


def test_rows_run_from_pupil_to_limbus_and_columns_clockwise_from_the_right():
    x, y = rubber_sheet.coordinates(WHERE, (64, 512))
    assert x.shape == y.shape == (64, 512)
    edge = rubber_sheet.EDGE_PIXELS
    np.testing.assert_allclose((x[0, 0], y[0, 0]), (60 + 10 + edge, 50), atol=0.5)
    np.testing.assert_allclose((x[-1, 0], y[-1, 0]), (62 + 30 - edge, 49), atol=0.5)
    down = (x[-1, 128], y[-1, 128])  # a quarter of a turn
    np.testing.assert_allclose(down, (62, 49 + 30 - edge), atol=0.5)


def test_no_pixel_of_pupil_or_sclera_is_mixed_in():
    y, x = np.mgrid[:100, :120]
    ring = np.hypot(x - 62, y - 49) <= 30
    ring &= np.hypot(x - 60, y - 50) > 10
    gray = np.where(ring, 90, 250).astype(np.uint8)
    sheet = rubber_sheet.unwrap(gray, *rubber_sheet.coordinates(WHERE, (64, 512)))
    assert (sheet == 90).all()


def test_unwrap_reads_the_pixels_at_the_coordinates():
    gray = np.tile(np.arange(128, dtype=np.uint8), (100, 1))  # value x
    x, y = rubber_sheet.coordinates(WHERE, (16, 64))
    wide = rubber_sheet.unwrap(gray, x[:, :], y[:, :])
    np.testing.assert_allclose(wide, x, atol=2.0)


def test_a_finer_capture_is_smoothed_before_it_is_sampled():
    gray = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)  # one-pixel checkers
    big = IrisLocation(Circle(600, 600, 150), Circle(600, 600, 500), 30.0, 30.0)
    sheet = rubber_sheet.unwrap(gray, *rubber_sheet.coordinates(big, (64, 512)))
    assert sheet.std() < 10


def test_cells_beyond_the_capture_are_marked():
    x, y = rubber_sheet.coordinates(WHERE, (8, 64))
    within = rubber_sheet.inside(x, y, (100, 80))
    assert within[-1, 0] == 0  # x 92 of a capture 80 wide
    assert within[-1, 32] == 255
    np.testing.assert_array_equal(within > 0, (x <= 79) & (x >= 0) & (y >= 0) & (y <= 99))
