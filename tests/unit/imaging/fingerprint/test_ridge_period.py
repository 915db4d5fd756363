"""The stated resolution counts where the ridges bear it out."""

import cv2
import numpy as np
import pytest

from biometric_core.imaging.fingerprint import ridge_period
from biometric_core.imaging.fingerprint.normalisation import prepare
from biometric_core.sources.generator.finger_captures import render_finger

FINGER = render_finger(5, 6, (300, 300))


def at(dpi):
    how = cv2.INTER_AREA if dpi < 500 else cv2.INTER_CUBIC
    return cv2.resize(FINGER, None, fx=dpi / 500, fy=dpi / 500, interpolation=how)


def likeness(one, other):
    """Correlation of two samples where both show the finger."""
    both = (one.mask > 0) & (other.mask > 0)
    return float(np.corrcoef(one.image[both], other.image[both])[0, 1])


@pytest.mark.parametrize("dpi", [300, 400, 600, 1000])
def test_a_finger_is_the_same_sample_at_each_stated_resolution(dpi):
    assert likeness(prepare(at(dpi), dpi=dpi), prepare(FINGER)) > 0.75


def test_unstated_300_dpi_is_taken_for_another_resolution():
    assert likeness(prepare(at(300)), prepare(FINGER)) < 0.5


@pytest.mark.parametrize("dpi", [None, 1, 72, 96, 150, 200, 300, 1000])
def test_what_the_ridges_contradict_changes_nothing(dpi):
    stated, plain = prepare(FINGER, dpi=dpi), prepare(FINGER)
    assert (stated.image == plain.image).all()
    assert (stated.mask == plain.mask).all()


@pytest.mark.parametrize(("dpi", "measured"), [(200, 3.2), (500, 8.3), (1000, 17.0)])
def test_what_was_guessed_right_is_the_same_when_it_is_stated(dpi, measured):
    assert ridge_period.nominal(measured, dpi) == ridge_period.nominal(measured)
