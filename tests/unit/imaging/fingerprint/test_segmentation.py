import numpy as np

from biometric_core.imaging.fingerprint import segmentation
from tests.support.drawn_captures import draw_finger


def test_the_foreground_is_the_ellipse_that_was_drawn():
    gray = draw_finger(6.0, (200, 220))
    y, x = np.mgrid[:200, :220]
    truth = ((x - 110) / (0.42 * 220)) ** 2 + ((y - 100) / (0.45 * 200)) ** 2 < 1
    found = segmentation.foreground(gray, 6.0) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.85
    x_found, y_found = segmentation.centre(found.astype(np.uint8))
    np.testing.assert_allclose((x_found, y_found), (110, 100), atol=3)


def test_a_frame_is_trimmed_and_a_finger_at_the_border_is_not():
    gray = draw_finger(6.0, (103, 96))
    framed = np.pad(gray, 2, constant_values=160)
    assert segmentation.trim_frame(framed).shape <= gray.shape
    inner = draw_finger(6.0, (200, 200))[60:140, 60:140]
    assert segmentation.trim_frame(inner).shape == inner.shape


def test_normalised_ridges_are_level_across_a_brightness_ramp():
    gray = draw_finger(6.0, (200, 200), noise=0).astype(float) * 0.4
    ramp = (gray + np.linspace(0, 140, 200)[None]).astype(np.uint8)
    mask = np.full(ramp.shape, 255, np.uint8)
    level = segmentation.normalise(ramp, mask, 6.0).astype(float)
    left, right = level[60:140, 50:80].mean(), level[60:140, 120:150].mean()
    assert abs(left - right) < 8
    assert abs(level[60:140, 60:140].std() - segmentation.SPREAD) < 12
