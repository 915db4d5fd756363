"""Minutiae of a fingerprint sample, found by NIST's mindtct (`nbis-py`), as templates.

The only module that knows `nbis`. Its own matcher, bozorth3, is not used: `minutia_matching` errs
less on every set measured, and takes a tenth of the time (docs/decisions/0005-minutiae-encoder.md).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.errors import ModelError
from biometric_core.imaging.fingerprint import minutia_matching
from biometric_core.imaging.fingerprint.minutia_matching import Minutiae
from biometric_core.schemas import Float32Array, Float64Array, IntArray, UInt8Array

DEFAULT_WEIGHT, DEFAULT_BIAS = 7.1, -6.5
"""LLR = weight * similarity + bias where there are no mated pairs to fit it on.

Fitted (`calibration.fit_calibration`) on 20 generated fingers, 4 captures each, as a worn sensor
shows them (`sources.sensor.WORN`). Careful on real ones: FVC2002 fits -5.8 and -7.2 with weights
of 10 and 17, so what is above 0 by the default is so by these as well.
"""
COLUMNS = 4
_log = logging.getLogger(__name__)
_ZOOM = 1.7  # the sample's 5 pixels a ridge to the 8.5 of 500 dpi, which mindtct is made for
_MOST = 48  # minutiae kept: a whole finger has about 40, and noise hundreds
_BORDER = 5.0  # pixels, one ridge: where the finger is cut off every ridge ends
_SMOOTH = 5.0  # pixels: reach of the ridges' direction at a place
_RINGS = ((8, 8), (17, 12), (27, 16), (38, 20), (50, 24))  # radius in pixels, places on it
_EMPTY = Minutiae(
    np.zeros(0, np.complex64),
    np.zeros(0, np.complex64),
    np.zeros((0, 2 * sum(places for _, places in _RINGS)), np.float32),
    np.zeros((0, sum(places for _, places in _RINGS)), np.float32),
)


@dataclass(frozen=True)
class MinutiaeTemplates:
    """Minutiae of N samples.

    Attributes:
        items: of each sample; none where it is absent.
    """

    items: Sequence[Minutiae]
    encoder: ClassVar[str] = "minutiae"

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: IntArray) -> Self:
        """See `templates.Templates`; -1 stands for an absent sample."""
        return type(self)([self.items[row] if row >= 0 else _EMPTY for row in rows.tolist()])

    def similarities(self, references: Self) -> Float32Array:
        """Float32 (N, M), about 0.1 to 0.5 for different fingers, 0.8 to 4 for mated ones.

        0 where a sample is absent or has fewer than `minutia_matching.FEWEST` minutiae.
        """
        found = np.zeros((len(self), len(references)), np.float32)
        for number, probe in enumerate(self.items):
            found[number] = minutia_matching.similarities(probe, references.items)
        return found


def encode(images: Iterable[UInt8Array], masks: Iterable[UInt8Array]) -> MinutiaeTemplates:
    """Find and describe the minutiae of fingerprint samples, about 25 ms each.

    A sample that nbis can't read gets no minutiae, as one where it finds none.

    Args:
        images: N of them, uint8 (H, W), as `normalisation.prepare` makes them.
        masks: N of them, uint8 (H, W), 0 off the finger.

    Raises:
        ModelError: nbis can't be loaded.
    """
    pairs = zip(images, masks, strict=True)
    return MinutiaeTemplates([described(extract(image), image, mask) for image, mask in pairs])


def described(found: Float64Array, image: UInt8Array, mask: UInt8Array) -> Minutiae:
    """The surest of what was found on the finger, each with the ridge flow around it.

    Args:
        found: as `extract` gives it.
        image: uint8 (H, W), the sample it was found in.
        mask: uint8 (H, W), 0 off the finger.
    """
    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    height, width = mask.shape
    column = np.clip(np.round(found[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.round(found[:, 1]).astype(int), 0, height - 1)
    found = found[depth[row, column] >= _BORDER]
    found = found[np.argsort(-found[:, 3], kind="stable")[:_MOST]]
    return _described(found, image, mask) if len(found) else _EMPTY


def extract(image: UInt8Array) -> Float64Array:
    """What mindtct finds, float64 (n, COLUMNS): x, y in pixels, angle in radians, reliability.

    Raises:
        ModelError: nbis can't be loaded.
    """
    nbis, extractor = _nbis()
    large = cv2.resize(image, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
    try:
        found = extractor.extract_minutiae(cv2.imencode(".png", large)[1].tobytes()).get()
    except nbis.NbisError as error:
        _log.warning("no minutiae from a sample: nbis: %s", error or type(error).__name__)
        found = []
    rows = [
        (one.x() / _ZOOM, one.y() / _ZOOM, -np.deg2rad(one.angle()), one.reliability())
        for one in found
    ]  # its angles turn anticlockwise, with y upwards
    return np.array(rows, np.float64).reshape(-1, COLUMNS)


@cache
def _nbis() -> tuple[Any, Any]:
    try:
        import nbis

        settings = nbis.NbisExtractorSettings(
            min_quality=0.0,
            get_center=False,
            check_fingerprint=False,
            compute_nfiq2=False,
            ppi=None,
        )
        return nbis, nbis.new_nbis_extractor(settings)
    except Exception as error:  # a missing library, symbol or version: each of its own type
        raise ModelError(
            f"fingerprint minutiae need nbis-py, which can't be loaded ({error}): install the "
            "locked requirements, or train with training.minutiae=false"
        ) from error


def _described(found: Float64Array, image: UInt8Array, mask: UInt8Array) -> Minutiae:
    """Add the ridge flow around minutiae, and refine mindtct's directions (steps of 11 degrees)."""
    flow = _flow(image, mask)
    places = found[:, 0] + 1j * found[:, 1]
    here = _sampled(flow, places)
    # Of the two ways along the ridge the one nearer to mindtct's.
    off = np.angle(here * np.exp(-2j * found[:, 2])) / 2
    angle = found[:, 2] + np.where(np.abs(here) > 0.1, off, 0)
    around = np.concatenate(
        [radius * np.exp(2j * np.pi * np.arange(count) / count) for radius, count in _RINGS]
    )
    direction = np.exp(1j * angle)
    near = _sampled(flow, places[:, None] + around * direction[:, None])
    near *= np.conj(direction[:, None]) ** 2
    parts = np.concatenate([near.real, near.imag], axis=1).astype(np.float32)
    seen = np.abs(near).astype(np.float32)
    return Minutiae(places.astype(np.complex64), direction.astype(np.complex64), parts, seen)


def _flow(image: UInt8Array, mask: UInt8Array) -> npt.NDArray[np.complex128]:
    """Twice the ridges' angle as complex numbers as long as it is sure; 0 off the finger."""
    ridges = cv2.GaussianBlur((image.astype(np.float32) - 128) * (mask > 0), (0, 0), 0.8)
    dx, dy = cv2.Sobel(ridges, cv2.CV_32F, 1, 0), cv2.Sobel(ridges, cv2.CV_32F, 0, 1)
    inner = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0  # its edge would be a strong ridge
    real, imaginary, energy = (
        cv2.GaussianBlur(part * inner, (0, 0), _SMOOTH)
        for part in (dx * dx - dy * dy, 2 * dx * dy, dx * dx + dy * dy)
    )
    return np.asarray(-(real + 1j * imaginary) / np.maximum(energy, 1e-3) * inner)


def _sampled(
    flow: npt.NDArray[np.complex128], places: npt.NDArray[np.complex128]
) -> npt.NDArray[np.complex128]:
    """The flow at x + iy, of the shape of `places`, interpolated; 0 beyond the sample."""
    across, down = (np.atleast_2d(part).astype(np.float32) for part in (places.real, places.imag))
    real, imaginary = (
        cv2.remap(part.astype(np.float32), across, down, cv2.INTER_LINEAR, borderValue=(0,))
        for part in (flow.real, flow.imag)
    )
    return np.asarray(real + 1j * imaginary).reshape(places.shape)
