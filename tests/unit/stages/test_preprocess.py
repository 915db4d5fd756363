import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from biometric_core.config import Config
from biometric_core.data import feature_files, preparing
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import ConfigError, DataError
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store
from tests.unit.stages.test_ingest import noise, png, write


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
    real, done = preparing.prepare_chunk, []

    def dies_at_the_third(chunk):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(real(chunk))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "prepare_chunk", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            preprocess(ingested)
    assert Store.of(ingested).read("features").num_rows == 0, "no half-written table"
    folder = Path(Store.of(ingested).root) / feature_files.FOLDER
    times = {path: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert len(times) == 2
    result = preprocess(ingested)
    assert result.prepared + result.failed == Store.of(ingested).read("features").num_rows
    assert {path: path.stat().st_mtime_ns for path in times} == times, "not prepared again"


def test_a_damaged_file_of_a_killed_run_is_made_again(ingested):
    store = Store.of(ingested)
    todo = preparing.missing(store, preprocess_version(ingested)).captures
    chunk = next(feature_files.chunks_of(todo, ingested, store.root))
    store.files.write(f"{feature_files.FOLDER}/{chunk.name}", b"PAR1 cut short")
    preprocess(ingested)
    assert {len(i) for i in store.read("features", ["image"])["image"].to_pylist()} != {0}


def test_two_runs_at_once_prepare_everything_once(ingested):
    root = Store.of(ingested).root
    script = (
        "import sys\nfrom biometric_core.config import *\n"
        "from biometric_core.stages.preprocess import preprocess\n"
        "size = int(sys.argv[2])\n"
        "preprocess(Config(storage=Storage(root=sys.argv[1]),"
        " preprocess=Preprocess(executor='sequential', chunk_size=size)))"
    )
    sizes = ("5", "5", "7")  # the third cuts other chunks
    runs = [subprocess.Popen([sys.executable, "-c", script, root, size]) for size in sizes]
    assert [run.wait() for run in runs] == [0, 0, 0]
    store = Store.of(ingested)
    ids = store.read("features", ["capture_id"])["capture_id"].to_pylist()
    assert sorted(ids) == sorted(store.read("captures", ["capture_id"])["capture_id"].to_pylist())


def test_somebody_elses_commit_in_between_leads_to_no_duplicate(ingested, monkeypatch):
    monkeypatch.setattr(preparing, "_ROWS_PER_COMMIT", 10)
    store, real = Store.of(ingested), Store.append_files
    others = []

    def late(self, name, parts, version):
        if len(others) < 2:  # somebody else prepares just these captures first
            others.append(real(self, name, parts, version))
        return real(self, name, parts, version)

    monkeypatch.setattr(Store, "append_files", late)
    preprocess(ingested)
    assert others == [True, True]
    ids = store.read("features", ["capture_id"])["capture_id"].to_pylist()
    assert len(ids) == len(set(ids)) == store.read("captures", ["capture_id"]).num_rows


def test_a_worker_killed_in_mid_run_costs_no_row(ingested, tmp_path):
    marker = tmp_path / "killed"
    chunks = [(str(marker), n) for n in range(12)]
    done = list(map_chunks(dies_once, chunks, Executor.MULTIPROCESSING, ingested))
    assert done == list(range(12))
    assert marker.exists()


def dies_once(work: tuple[str, int]) -> int:
    marker, number = work
    if number == 5 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


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
    store.files.delete(uri)
    result = preprocess(ingested)
    assert result.failures["unreadable"] == 1
    assert result.prepared > 0


def test_captures_prepared_by_another_version_are_prepared_again_and_said_to_be(ingested, caplog):
    first = preprocess(ingested)
    section = ingested.preprocess.model_copy(update={"iris_shape": (32, 256)})
    other = ingested.model_copy(update={"preprocess": section})
    with caplog.at_level("WARNING"):
        second = preprocess(other)
    assert f"were prepared by version {first.version}" in caplog.text
    assert second.prepared == first.prepared
    assert load_captures(Store.of(other), other)[Modality.IRIS].images.shape[1:] == (32, 256)
    assert load_captures(Store.of(other), ingested)[Modality.IRIS].images.shape[1:] == (64, 512)


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
        assert not captures.images[0].flags.writeable
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


def test_captures_of_a_modality_from_a_newer_version_are_left_alone(ingested):
    store = Store.of(ingested)
    row = store.read("captures").slice(0, 1).to_pylist()[0] | {
        "capture_id": "x",
        "modality": "face",
    }
    store.append_new("captures", pa.Table.from_pylist([row], schema=TABLES["captures"]))
    result = preprocess(ingested)
    assert result.prepared + result.failed == store.read("captures").num_rows - 1
