import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from biometric_core import preprocess as stage
from biometric_core.config import Config
from biometric_core.dataset import load_captures
from biometric_core.errors import ConfigError, DataError
from biometric_core.ingest import ingest
from biometric_core.preprocess import preprocess
from biometric_core.schemas import Modality
from biometric_core.store import Store
from tests.unit.test_ingest import noise, png, write


@pytest.fixture
def ingested(config: Config, people: Path) -> Config:
    """The generated people, taken in; chunks small enough that there are several."""
    ingest(config, source=str(people))
    section = config.preprocess.model_copy(update={"chunk_size": 5, "workers": 2})
    return config.model_copy(update={"preprocess": section})


def digest(config: Config) -> str:
    rows = Store.of(config).read("features").sort_by("capture_id").combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return hashlib.sha256(sink.getvalue()).hexdigest()


@pytest.mark.parametrize(
    "executor", ["multiprocessing", pytest.param("ray", marks=pytest.mark.slow)]
)
def test_every_executor_writes_the_same_table(ingested, tmp_path, people, executor):
    first = preprocess(ingested)
    assert first.executor == "sequential"
    root = ingested.storage.model_copy(update={"root": str(tmp_path / "other")})
    other = ingested.model_copy(update={"storage": root})
    ingest(other, source=str(people))
    assert preprocess(other, executor=executor).executor == executor
    assert digest(other) == digest(ingested)


def test_a_rerun_prepares_nothing(ingested):
    first = preprocess(ingested)
    version = Store.of(ingested).version("features")
    again = preprocess(ingested)
    assert (again.prepared, again.known) == (0, first.prepared + first.failed)
    assert Store.of(ingested).version("features") == version


def test_a_killed_run_goes_on_with_the_missing_chunks(ingested, monkeypatch):
    real, done = stage.prepare_chunk, []

    def dies_at_the_third(work):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(real(work))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(stage, "prepare_chunk", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            preprocess(ingested)
    assert Store.of(ingested).read("features").num_rows == 0, "no half-written table"
    times = {path: Path(path).stat().st_mtime_ns for path in done}
    prepared = []
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_row", lambda *a, row=stage._row: prepared.append(a[1]) or row(*a))
        result = preprocess(ingested)
    assert len(prepared) == result.prepared + result.failed - 5 * len(times)
    assert not list(Path(done[0]).parent.glob("*.arrow")), "staging is empty afterwards"


def test_a_failure_to_acquire_is_a_row_with_its_reason(config, tmp_path):
    write(tmp_path / "s/iris/001_L_01.png", png(noise(3, (240, 320))))
    ingest(config, source=str(tmp_path / "s"))
    result = preprocess(config)
    assert (result.prepared, result.failed) == (0, 1)
    row = Store.of(config).read("features").to_pylist()[0]
    assert row["failure"] in result.failures
    assert load_captures(Store.of(config), config) == {}


def test_a_missing_image_is_a_row_and_stops_no_other(ingested):
    store = Store.of(ingested)
    uri = store.read("captures", ["uri"])["uri"][0].as_py()
    (store.root / uri).unlink()
    result = preprocess(ingested)
    assert result.failures["unreadable"] == 1
    assert result.prepared > 0


def test_chunks_of_a_killed_run_do_not_stay(ingested):
    orphan = Store.of(ingested).path("staging", "orphan.arrow")
    orphan.write_bytes(b"prepared captures")
    preprocess(ingested)
    assert not orphan.exists()


def test_an_unknown_executor_is_refused_by_name(ingested):
    with pytest.raises(ConfigError, match="there are auto, sequential"):
        preprocess(ingested, executor="threads")


def test_captures_load_as_read_only_views_of_the_prepared_pixels(ingested):
    preprocess(ingested)
    store = Store.of(ingested)
    rows = {r["capture_id"]: r for r in store.read("features").to_pylist() if not r["failure"]}
    sets = load_captures(store, ingested)
    assert sum(map(len, sets.values())) == len(rows)
    for modality, captures in sets.items():
        height, width = getattr(ingested.preprocess, f"{modality.value}_shape")
        assert captures.images.shape == (len(captures), height, width)
        assert not captures.images.flags.writeable
        for row in range(0, len(captures), 7):
            stored = rows[captures.capture_id[row]]
            assert captures.images[row].tobytes() == stored["image"]
            assert captures.masks[row].tobytes() == stored["mask"]


def test_as_of_leaves_later_captures_out(ingested, tmp_path):
    from datetime import UTC, datetime

    write(tmp_path / "later/iris/001_L_77.png", png(noise(5, (240, 320))))
    preprocess(ingested)
    store = Store.of(ingested)
    taken = store.read("captures", ["captured_at"])["captured_at"][0].as_py()
    assert load_captures(store, ingested, as_of=taken) == {}
    everything = load_captures(store, ingested, as_of=datetime(2100, 1, 1, tzinfo=UTC))
    assert set(everything) == set(Modality)


def test_an_unprepared_store_says_what_to_do(config):
    with pytest.raises(DataError, match="biometric preprocess"):
        load_captures(Store.of(config), config)
