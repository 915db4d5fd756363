"""What each capture is used for when a day is scored: enrolled, probe of reference or of the day.

Two windows are scored the same way, so that drift statistics compare like with like:

* the reference: of each identity one capture that was there when the model was trained, but that
  it was not trained on: the reserved captures of training subjects, the latest of everybody else;
* the day's watched captures (`watched.py`). Those of a training source are enrolled like any that
  came earlier, from the day after on.

An identity is enrolled with its earliest captures, the same for both windows and at most
`ENROLMENT_CAPTURES`: a template of more captures scores higher, which is no news about the sensor.
Somebody new is enrolled with the first captures of the day and probed with the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from biometric_core.data.capture_sets import CaptureSet
from biometric_core.data.splits import reserved
from biometric_core.history.changes import Change, outdated, renewed
from biometric_core.monitoring.equal_samples import rank_in_group
from biometric_core.schemas import BoolArray, IntArray, Split, start_of, utc

ENROLMENT_CAPTURES = 2


@dataclass(frozen=True)
class Roles:
    """What each capture of one modality is used for; row numbers into the capture set.

    Attributes:
        reference: int64; probes of the reference window.
        gallery_reference: int64; enrolled captures the reference is compared with.
        current: int64; the day's probes.
        gallery_current: int64; enrolled captures the day is compared with.
        new_identities: how many identities were enrolled from the day itself.
    """

    reference: IntArray
    gallery_reference: IntArray
    current: IntArray
    gallery_current: IntArray
    new_identities: int


def assign_roles(
    captures: CaptureSet,
    known: BoolArray,
    day: date,
    *,
    answered: Sequence[Change] = (),
    enough: int = 1,
    watched: BoolArray | bool = True,
) -> Roles:
    """Decide what each capture of one modality is used for.

    Args:
        captures: all acquired captures of one modality.
        known: bool, (N,); captured before the model was trained.
        day: the UTC day to score.
        answered: drifts the model has answered: there the reference of what moved begins.
        enough: subjects that a sensor's renewed reference needs; with fewer it holds everything.
        watched: bool, (N,); captures that may be the day's; or all of them.
    """
    start, end = (utc64(start_of(d)) for d in (day, day + timedelta(days=1)))
    identity = captures.identity
    order = np.lexsort((captures.capture_id, captures.impression, captures.captured_at))
    held_out = _held_out(captures, identity, known, order)
    gallery = _enrolled(identity, order, known & ~held_out)
    # Enrolment of who was there when the model was trained is closed: captures that came later
    # would give the day better templates than the reference had.
    later = ~known & ~np.isin(identity, identity[gallery])
    earlier = later & (captures.captured_at < start)
    enrolled = gallery | _enrolled(identity, order, earlier)
    today = ~known & (captures.captured_at >= start) & (captures.captured_at < end)
    today &= watched
    fresh = today & ~np.isin(identity, identity[enrolled])
    first = _enrolled(identity, order, fresh, spare=1)  # at least one capture stays a probe
    return Roles(
        reference=np.flatnonzero(_without_outdated(captures, held_out, answered, enough)),
        gallery_reference=np.flatnonzero(gallery),
        current=np.flatnonzero(today & ~first),
        gallery_current=np.flatnonzero(enrolled | first),
        new_identities=len(np.unique(identity[first])),
    )


def _enrolled(
    identity: npt.NDArray[np.str_], order: IntArray, among: BoolArray, spare: int = 0
) -> BoolArray:
    """The captures that make the templates, bool (N,): the earliest of each identity.

    Every template is made of `ENROLMENT_CAPTURES`; an identity with fewer (and `spare` more) has
    none. One of fewer captures lies further from its probes: people with smaller templates in one
    window than in the other would look like drift (measured: an alarm every day).
    """
    _, where, counts = np.unique(identity[among], return_inverse=True, return_counts=True)
    count = np.zeros(len(identity), dtype=np.int64)
    count[among] = counts[where]
    enough = count >= ENROLMENT_CAPTURES + spare
    return among & enough & (_rank(identity, order, among) < ENROLMENT_CAPTURES)


def _held_out(
    captures: CaptureSet, identity: npt.NDArray[np.str_], known: BoolArray, order: IntArray
) -> BoolArray:
    """The capture of each identity that probes the reference, bool (N,)."""
    rows = np.flatnonzero(known)
    held_out = np.zeros(len(captures), dtype=bool)
    held_out[rows] = reserved(captures.select(rows))
    others = known & (captures.split != Split.TRAIN.value)
    _, where, counts = np.unique(identity[others], return_inverse=True, return_counts=True)
    count = np.zeros(len(captures), dtype=np.int64)
    count[others] = counts[where]
    held_out |= others & (count > 1) & (_rank(identity, order, others) == count - 1)
    return held_out


def _without_outdated(
    captures: CaptureSet, held_out: BoolArray, answered: Sequence[Change], enough: int
) -> BoolArray:
    """The reference's probes, bool (N,), without those from before an answered drift."""
    old = outdated(answered, captures.modality.value, captures.sensor, captures.captured_at)
    return renewed(held_out, old, captures.sensor, captures.subject_id, enough)


def _rank(identity: npt.NDArray[np.str_], order: IntArray, among: BoolArray) -> IntArray:
    """Place (0 is the first in `order`) of each row among its identity's rows of `among`, (N,)."""
    ranks = np.full(len(identity), len(identity), dtype=np.int64)
    rows = order[among[order]]
    _, groups = np.unique(identity[rows], return_inverse=True)
    ranks[rows] = rank_in_group(groups)
    return ranks


def utc64(moment: datetime) -> np.datetime64:
    """A time as the capture sets hold it; UTC where it names no zone."""
    return np.datetime64(utc(moment).replace(tzinfo=None), "us")
