"""From the tables to what a day is judged by: probes and attempts, each with its reference."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config, Monitoring
from biometric_core.data.capture_sets import str_array
from biometric_core.history.changes import outdated, renewed
from biometric_core.history.drift_table import MEASURES
from biometric_core.history.rejections import rejected
from biometric_core.monitoring.designs import design
from biometric_core.monitoring.scoring_model import ScoringModel
from biometric_core.monitoring.verdicts import ATTEMPTS, CAPTURED, CLAIMS, PROBES, WINDOWS
from biometric_core.monitoring.watched import IS_WATCHED
from biometric_core.monitoring.windows import (
    CURRENT,
    ENROLLED,
    REFERENCE,
    Acquired,
    Attempts,
    Group,
    Span,
    Window,
    measures,
)
from biometric_core.schemas import BoolArray, Float64Array, StrArray, identity_of, start_of
from biometric_core.storage.store import Store

_IDENTITY = ["subject_id", "modality", "position"]


@dataclass(frozen=True)
class _Tables:
    """What was read for a day: probes with their captures' measures, and attempts."""

    reference: pa.Table
    current: pa.Table
    before: pa.Table
    attempts: pa.Table

    def of(self, modality: str, sensor: str | None) -> "_Tables":
        """The rows of a modality and, where one is named, of a sensor."""
        parts = []
        for table in vars(self).values():
            chosen = pc.equal(table["modality"], modality)
            if sensor is not None:
                chosen = pc.and_(chosen, pc.equal(table["sensor"], sensor))
            parts.append(table.filter(chosen))
        return _Tables(*parts)


def load_groups(store: Store, config: Config, day: date, model: ScoringModel) -> list[Group]:
    """The day by modality and sensor, each with its part of the reference.

    The reference of a sensor is that sensor's own where it carries enough subjects, else the whole
    of the modality: a sensor nobody has seen is compared with those that are known.

    Args:
        store: of the tables.
        config: `monitoring` says how far the recent days reach and how they are weighted.
        day: the UTC day.
        model: that has scored it.
    """
    tables = _read(store, config, day, model)
    today = pc.equal(tables.attempts["day"], day)
    pairs = tables.attempts.filter(today).group_by(["modality", "sensor"]).aggregate([])
    names = sorted(zip(pairs["modality"].to_pylist(), pairs["sensor"].to_pylist(), strict=True))
    return [_group(tables, *name, day, config.monitoring) for name in names]


def _group(tables: _Tables, modality: str, sensor: str, day: date, settings: Monitoring) -> Group:
    own, whole = tables.of(modality, sensor), tables.of(modality, None)
    current = own.current.filter(pc.equal(own.current["day"], day))
    today = _span(current, own.attempts.filter(pc.equal(own.attempts["day"], day)), day)
    recent = _span(own.current, own.attempts, day, settings.trend_decay)
    of_sensor = _span(own.reference, own.before, day)
    of_all = _span(whole.reference, whole.before, day)
    alone = len(recent.attempts) == len(today.attempts)
    return Group(
        modality,
        sensor,
        _reference(of_sensor, of_all, today, settings.min_subjects),
        today,
        None if alone else recent,
        unidentified=current["residual"].null_count,
        enrolled_today=pc.sum(_of_today(current)).as_py() or 0,
        met=window(current, day),
    )


def _span(probes: pa.Table, captures: pa.Table, day: date, decay: float = 1.0) -> Span:
    compared = probes.filter(pc.and_not(pc.is_valid(probes["residual"]), _of_today(probes)))
    refused = rejected(compared)
    return Span(
        probes=window(compared.filter(pa.array(~refused)), day, decay),
        attempts=attempts(captures, captures["failed"].to_numpy(), day, decay),
        acquired=acquired(captures.filter(pc.equal(captures["failed"], 0.0)), day, decay),
        claims=replace(
            attempts(compared, refused.astype(np.float64), day, decay),
            trained_on=_trained_on(compared),
        ),
    )


def _of_today(probes: pa.Table) -> pa.ChunkedArray:
    """Which probes of days are of the day on which their template was made, bool.

    Within one visit everything is more alike than from visit to visit, by whatever sensor: such a
    comparison says nothing of it, and a day full of them differs from any reference.
    """
    same = pc.fill_null(pc.less_equal(probes["day"], probes["enrolled_on"]), False)
    return pc.and_(pc.equal(probes["window"], CURRENT), same)


def _reference(own: Span, whole: Span, today: Span, enough: int) -> Span:
    """The sensor's own where it carries enough people, else that of all sensors; kind by kind."""

    def carries(kind: str) -> bool:
        before, now = WINDOWS[kind](own), WINDOWS[kind](today)
        if before is None or now is None:
            return False
        plan = design(before, now)
        return min(plan.subjects, plan.known) >= enough

    return Span(
        probes=(own if carries(PROBES) else whole).probes,
        attempts=(own if carries(ATTEMPTS) else whole).attempts,
        acquired=(own if carries(CAPTURED) else whole).acquired,
        claims=(own if carries(CLAIMS) else whole).claims,
    )


def _read(store: Store, config: Config, day: date, model: ScoringModel) -> _Tables:
    captures = _captures(store, model, day)
    first = day - timedelta(days=config.monitoring.trend_days - 1)
    in_days = (pc.field("day") <= day) & (pc.field("day") >= first)
    reference = pc.field("window") == REFERENCE
    current = (pc.field("window") == CURRENT) & in_days
    known = captures["known"]
    before = known
    if model.answered:
        modality, sensor = (
            str_array(captures[name].to_pylist()) for name in ("modality", "sensor")
        )
        old = outdated(model.answered, modality, sensor, captures["captured_at"].to_numpy())
        each = np.char.add(np.char.add(modality, "/"), sensor)
        subject = str_array(captures["subject_id"].to_pylist())
        enough = config.monitoring.min_subjects
        before = pa.array(renewed(known.to_numpy(), old, each, subject, enough))
    watched, enrolled = captures.filter(IS_WATCHED), _enrolment(store, model)
    return _Tables(
        reference=_probes(store, model, reference, captures, enrolled),
        current=_probes(store, model, current, watched, enrolled),
        before=captures.filter(before),
        attempts=watched.filter(
            pc.and_(pc.invert(watched["known"]), pc.greater_equal(watched["day"], first))
        ),
    )


def _probes(
    store: Store,
    model: ScoringModel,
    chosen: pc.Expression,
    captures: pa.Table,
    enrolled: pa.Table,
) -> pa.Table:
    """Chosen probes of the model, sorted by capture.

    With the measures of their captures, and the day on which their identity was enrolled.
    """
    probes = store.read("probes", filter=(pc.field("model_version") == model.version) & chosen)
    probes = _with_enrolment(probes, enrolled)
    place = pc.index_in(probes["capture_id"], captures["capture_id"].combine_chunks())
    probes, place = probes.filter(pc.is_valid(place)), pc.drop_null(place)
    for name in MEASURES[1:]:
        probes = probes.append_column(name, captures[name].take(place))
    return probes.sort_by("capture_id")


def _enrolment(store: Store, model: ScoringModel) -> pa.Table:
    """Of each enrolled identity `enrolled_on`, the day of its template's last capture."""
    chosen = (pc.field("model_version") == model.version) & (pc.field("window") == ENROLLED)
    rows = store.read("probes", [*_IDENTITY, "day"], chosen)
    last = rows.group_by(_IDENTITY).aggregate([("day", "max")])
    return last.rename_columns([*_IDENTITY, "enrolled_on"])


def _with_enrolment(probes: pa.Table, enrolled: pa.Table) -> pa.Table:
    """With `enrolled_on`; null where there is no template."""
    # Joins refuse lists.
    keys = probes.select(["capture_id", *_IDENTITY]).append_column(
        "row", pa.array(range(probes.num_rows), pa.int64())
    )
    joined = keys.join(enrolled, keys=_IDENTITY, join_type="left outer").sort_by("row")
    return probes.append_column("enrolled_on", joined["enrolled_on"])


def _captures(store: Store, model: ScoringModel, day: date) -> pa.Table:
    """Captures up to the day that are prepared as the model needs them.

    With `known` to the model, `failed` to acquire (0 or 1), `quality` and `day`.
    """
    end = start_of(day + timedelta(days=1))
    captures = store.read("captures", filter=pc.field("captured_at") < end)
    prepared = pc.field("preprocess_version") == model.prepared_by
    made = store.read("features", ["capture_id", "quality", "failure"], prepared)
    captures = captures.join(made, keys="capture_id", join_type="inner").sort_by("capture_id")
    ids = str_array(captures["capture_id"].to_pylist())
    times = captures["captured_at"].to_numpy().astype("datetime64[us]")
    added = {
        "known": model.known(store, ids, times),
        "failed": pc.cast(pc.is_valid(captures["failure"]), pa.float64()),
        "day": times.astype("datetime64[D]"),
    }
    for name, column in added.items():
        column = column if isinstance(column, pa.ChunkedArray) else pa.array(column)
        captures = captures.append_column(name, column)
    return captures


def window(probes: pa.Table, day: date, decay: float = 1.0) -> Window:
    """Probes whose identity is enrolled, with their captures' measures, as arrays.

    Args:
        probes: rows of the table, in the order of the capture id; the others are left out.
        day: whose rows weigh 1.
        decay: the factor on the weight for each day a row is older.
    """
    rows = probes.filter(pc.is_valid(probes["residual"]))
    residual = _vectors(rows["residual"])
    return Window(
        subject=str_array(rows["subject_id"].to_pylist()),
        identity=_identity(rows),
        trained_on=_trained_on(rows),
        weight=_weight(rows, day, decay),
        residual=residual,
        template=_vectors(rows["embedding"]) - residual,
        genuine=rows["genuine_score"].to_numpy().astype(np.float64),
        measures=measures(rows["quality"].to_numpy(), rows),
    )


def attempts(captures: pa.Table, failed: Float64Array, day: date, decay: float = 1.0) -> Attempts:
    """Captures, acquired or not, as arrays.

    Whether the model was trained on a subject makes no difference to what can be acquired.

    Args:
        captures: rows with subject, modality and position.
        failed: float64, (N,); 1 where it failed, else 0.
        day: as for `window`.
        decay: likewise.
    """
    return Attempts(**_untrained(captures, day, decay), failed=failed)


def acquired(captures: pa.Table, day: date, decay: float = 1.0) -> Acquired:
    """Acquired captures with their measures, as arrays; arguments as for `window`."""
    found = measures(captures["quality"].to_numpy(), captures)
    return Acquired(**_untrained(captures, day, decay), measures=found)


def _untrained(captures: pa.Table, day: date, decay: float) -> dict[str, Any]:
    return {
        "subject": str_array(captures["subject_id"].to_pylist()),
        "identity": _identity(captures),
        "trained_on": np.zeros(len(captures), dtype=np.bool_),
        "weight": _weight(captures, day, decay),
    }


def _trained_on(rows: pa.Table) -> BoolArray:
    return np.array(rows["trained_on"].to_pylist(), dtype=np.bool_)


def _identity(rows: pa.Table) -> StrArray:
    columns = (rows[name].to_pylist() for name in _IDENTITY)
    found = [identity_of(*row) for row in zip(*columns, strict=True)]
    return np.array(found, dtype=np.str_)


def _weight(rows: pa.Table, day: date, decay: float) -> Float64Array:
    age = np.datetime64(day) - rows["day"].to_numpy().astype("datetime64[D]")
    return np.asarray(decay ** np.maximum(age.astype(np.float64), 0.0), dtype=np.float64)


def _vectors(column: pa.ChunkedArray) -> Float64Array:
    flat = pc.list_flatten(column).to_numpy().astype(np.float64)
    return flat.reshape(len(column), -1) if len(column) else np.zeros((0, 0))
