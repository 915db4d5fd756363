"""From the tables to what a day is judged by: probes and attempts, each with its reference."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config, Monitoring
from biometric_core.data.capture_sets import str_array
from biometric_core.history.changes import outdated, renewed
from biometric_core.history.drift_table import MEASURES
from biometric_core.monitoring.permutation_tests import design
from biometric_core.monitoring.scoring_model import ScoringModel
from biometric_core.monitoring.watched import IS_WATCHED
from biometric_core.monitoring.windows import (
    CURRENT,
    REFERENCE,
    Attempts,
    Group,
    Span,
    Window,
    measures,
)
from biometric_core.schemas import Float64Array, StrArray, identity_of, start_of
from biometric_core.storage.store import Store


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
    today = Span(
        window(own.current.filter(pc.equal(own.current["day"], day)), day),
        attempts(own.attempts.filter(pc.equal(own.attempts["day"], day)), day),
    )
    recent = Span(
        window(own.current, day, settings.trend_decay),
        attempts(own.attempts, day, settings.trend_decay),
    )
    reference = Span(window(own.reference, day), attempts(own.before, day))
    if design(reference.probes, today.probes).subjects < settings.min_subjects:
        reference = Span(window(whole.reference, day), reference.attempts)
    if design(reference.attempts, today.attempts).subjects < settings.min_subjects:
        reference = Span(reference.probes, attempts(whole.before, day))
    unidentified = own.current.filter(pc.equal(own.current["day"], day))["residual"].null_count
    alone = len(recent.attempts) == len(today.attempts)
    return Group(modality, sensor, reference, today, None if alone else recent, unidentified)


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
    watched = captures.filter(IS_WATCHED)
    return _Tables(
        reference=_probes(store, model, reference, captures),
        current=_probes(store, model, current, watched),
        before=captures.filter(before),
        attempts=watched.filter(
            pc.and_(pc.invert(watched["known"]), pc.greater_equal(watched["day"], first))
        ),
    )


def _probes(
    store: Store, model: ScoringModel, chosen: pc.Expression, captures: pa.Table
) -> pa.Table:
    """Chosen probes of the model with the measures of their captures, sorted by capture."""
    probes = store.read("probes", filter=(pc.field("model_version") == model.version) & chosen)
    place = pc.index_in(probes["capture_id"], captures["capture_id"].combine_chunks())
    probes, place = probes.filter(pc.is_valid(place)), pc.drop_null(place)
    for name in MEASURES[1:]:
        probes = probes.append_column(name, captures[name].take(place))
    return probes.sort_by("capture_id")


def _captures(store: Store, model: ScoringModel, day: date) -> pa.Table:
    """Captures up to the day, with `known` to the model, `failed` (0 or 1) and `day`."""
    end = start_of(day + timedelta(days=1))
    captures = store.read("captures", filter=pc.field("captured_at") < end)
    ids = str_array(captures["capture_id"].to_pylist())
    times = captures["captured_at"].to_numpy().astype("datetime64[us]")
    prepared = pc.field("preprocess_version") == model.prepared_by
    failed = store.read("features", ["capture_id"], prepared & pc.field("failure").is_valid())
    failing = np.isin(ids, failed["capture_id"].to_pylist())
    added = {
        "known": model.known(store, ids, times),
        "failed": failing.astype(np.float64),
        "day": times.astype("datetime64[D]"),
    }
    for name, column in added.items():
        captures = captures.append_column(name, pa.array(column))
    return captures


def window(probes: pa.Table, day: date, decay: float = 1.0) -> Window:
    """Rows of `probes` whose identity is enrolled, with their captures' measures, as arrays.

    Args:
        probes: in the order of the capture id.
        day: whose rows weigh 1.
        decay: the factor on the weight for each day a row is older.
    """
    rows = probes.filter(pc.is_valid(probes["residual"]))
    residual = _vectors(rows["residual"])
    return Window(
        subject=str_array(rows["subject_id"].to_pylist()),
        identity=_identity(rows),
        trained_on=np.array(rows["trained_on"].to_pylist(), dtype=np.bool_),
        weight=_weight(rows, day, decay),
        residual=residual,
        template=_vectors(rows["embedding"]) - residual,
        genuine=rows["genuine_score"].to_numpy().astype(np.float64),
        measures=measures(rows["quality"].to_numpy(), rows),
    )


def attempts(captures: pa.Table, day: date, decay: float = 1.0) -> Attempts:
    """Captures, acquired or not, as arrays; arguments as for `window`.

    Whether the model was trained on a subject makes no difference to what can be acquired.
    """
    return Attempts(
        subject=str_array(captures["subject_id"].to_pylist()),
        identity=_identity(captures),
        trained_on=np.zeros(len(captures), dtype=np.bool_),
        weight=_weight(captures, day, decay),
        failed=captures["failed"].to_numpy().astype(np.float64),
    )


def _identity(rows: pa.Table) -> StrArray:
    columns = (rows[name].to_pylist() for name in ("subject_id", "modality", "position"))
    found = [identity_of(*row) for row in zip(*columns, strict=True)]
    return np.array(found, dtype=np.str_)


def _weight(rows: pa.Table, day: date, decay: float) -> Float64Array:
    age = np.datetime64(day) - rows["day"].to_numpy().astype("datetime64[D]")
    return np.asarray(decay ** np.maximum(age.astype(np.float64), 0.0), dtype=np.float64)


def _vectors(column: pa.ChunkedArray) -> Float64Array:
    flat = pc.list_flatten(column).to_numpy().astype(np.float64)
    return flat.reshape(len(column), -1) if len(column) else np.zeros((0, 0))
