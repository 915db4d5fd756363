import csv
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from biometric_core.config import load_config
from biometric_core.data.without_store import capture_sets_from_source
from biometric_core.errors import ConfigError, ModelError, SourceError
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.serving.batch import COLUMNS, NOT_IN_MODEL, UNKNOWN_MODALITY
from biometric_core.stages.predict import predict
from biometric_core.stages.register import register
from biometric_core.storage.files import Files
from biometric_core.tracking import registry, runs
from biometric_core.training.assembly import recogniser_of
from biometric_core.training.fit import fit
from tests.support.drawn_source import drawn_config, drawn_source
from tests.support.tiny_store import changed, small

pytestmark = pytest.mark.slow  # MLflow makes its database: seconds


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A registry whose champion was trained on the irises of a drawn source, and that source."""
    folder = tmp_path_factory.mktemp("predict")
    settings = {
        "storage": {"root": str(folder / "data")},
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    config = drawn_config(small(load_config("test", settings)))
    source = drawn_source(folder / "source", subjects=4, impressions=2)
    sets = capture_sets_from_source(config, str(source))
    sets = {Modality.IRIS: sets[Modality.IRIS]}
    recogniser = recogniser_of(fit(sets, {}, config), {}, config)
    with runs.run(config, name="made for a test", tags={}) as run:
        recogniser.save(folder / runs.RECOGNISER)
        run.log_artifacts(folder / runs.RECOGNISER, runs.RECOGNISER)
    version = register(config, run_id=run.run_id).version
    assert registry.set_champion(config, version, None)
    hostile = folder / "hostile"
    shutil.copytree(source, hostile)
    (hostile / "iris" / "001_R_01.bmp").write_bytes(b"")
    (hostile / "iris" / "002_R_01.png").write_bytes(b"this is text")
    whole = (source / "iris" / "001_L_01.png").read_bytes()
    (hostile / "iris" / "003_R_01.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(hostile / "iris" / "004_R_01.png"), np.full((240, 320), 128, np.uint8))
    (hostile / "holiday.png").write_bytes(whole)
    (hostile / "desktop.ini").write_text("clutter")
    (hostile / "iris" / "005_R_01.png").symlink_to(source / "iris" / "001_L_01.png")
    return config, source, hostile, recogniser


def rows_of(path):
    return {row["path"]: row for row in pq.read_table(path).to_pylist()}


def test_one_row_for_each_image(world, tmp_path):
    config, source, _, recogniser = world
    result = predict(config, source=str(source), out=str(tmp_path / "out.parquet"))
    rows = rows_of(tmp_path / "out.parquet")
    assert set(rows) == {str(path.relative_to(source)) for path in source.rglob("*.png")}
    assert result.rows == len(rows) == 4 * 2 + 4
    assert result.model_version == "1"
    irises = [row for row in rows.values() if row["modality"] == "iris"]
    for row in irises:
        assert row["failure"] is None
        assert row["subject_id"] in recogniser.subjects
        assert 1 / 4 <= row["probability"] <= 1
        assert 0 < row["quality"] <= 1
        assert row["position"] == "left"
    fingers = [row for row in rows.values() if row["modality"] == "fingerprint"]
    assert {row["failure"] for row in fingers} == {NOT_IN_MODEL}
    assert result.failures == {NOT_IN_MODEL: 4}
    assert pq.read_schema(tmp_path / "out.parquet").names == COLUMNS.names


def test_no_input_is_lost_and_each_failure_has_its_reason(world, tmp_path):
    config, source, hostile, _ = world
    result = predict(config, source=str(hostile), out=str(tmp_path / "out.parquet"))
    rows = rows_of(tmp_path / "out.parquet")
    assert len(rows) == result.rows == 4 * 2 + 4 + 6
    failures = {path: row["failure"] for path, row in rows.items()}
    assert failures["iris/001_R_01.bmp"] == "empty_file"
    assert failures["iris/002_R_01.png"] == "not_an_image"
    assert failures["iris/003_R_01.png"] == "truncated"
    assert failures["iris/004_R_01.png"]  # blank: no iris to be found
    assert failures["iris/005_R_01.png"] == "link_leaves_source"
    assert failures["holiday.png"] == UNKNOWN_MODALITY
    assert all(
        row["quality"] == 0 and row["subject_id"] is None
        for row in rows.values()
        if row["failure"] and row["modality"] == "iris"
    )
    # good rows are what they are without the bad ones
    predict(config, source=str(source), out=str(tmp_path / "good.parquet"))
    for path, row in rows_of(tmp_path / "good.parquet").items():
        assert rows[path]["subject_id"] == row["subject_id"]
        assert rows[path]["probability"] == pytest.approx(row["probability"], abs=1e-4)


def test_a_zip_gives_the_same_as_the_folder(world, tmp_path):
    config, source, _, _ = world
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", source)
    for name, given in (("folder", str(source)), ("zip", archive)):
        predict(config, source=given, out=str(tmp_path / f"{name}.parquet"), embeddings=True)
    assert rows_of(tmp_path / "zip.parquet") == rows_of(tmp_path / "folder.parquet")


def test_workers_open_an_archive_themselves(world, tmp_path):
    config, source, _, _ = world
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", source)
    for name, executor in (("one", "sequential"), ("many", "multiprocessing")):
        settings = chunks_of(config, 5, executor)
        predict(settings, source=archive, out=str(tmp_path / f"{name}.parquet"))
    one, many = (rows_of(tmp_path / f"{name}.parquet") for name in ("one", "many"))
    assert list(many) == list(one)
    for path, row in many.items():
        assert row["failure"] == one[path]["failure"]
        assert row["probability"] == pytest.approx(one[path]["probability"], abs=1e-5)


def test_an_archive_that_was_replaced_is_read_anew(world, tmp_path):
    config, source, _, _ = world
    names = ["iris/001_L_01.png", "iris/002_L_01.png"]
    found = []
    for content in (names, names[::-1]):
        with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
            for name, other in zip(names, content, strict=True):
                archive.write(source / other, name)
        predict(config, source=str(tmp_path / "archive.zip"), out=str(tmp_path / "out.parquet"))
        found.append(rows_of(tmp_path / "out.parquet"))
    before, after = ([rows[name]["probability"] for name in names] for rows in found)
    assert after == pytest.approx(before[::-1], abs=1e-5)
    assert after != pytest.approx(before, abs=1e-5)


def test_a_list_of_paths(world, tmp_path):
    config, source, _, _ = world
    listed = source.parent / "list.txt"
    listed.write_text("source/iris/002_L_01.png\n\nsource/iris/009_L_01.png\n")
    predict(config, source=str(listed), out=str(tmp_path / "out.parquet"))
    rows = rows_of(tmp_path / "out.parquet")
    assert list(rows) == ["source/iris/002_L_01.png", "source/iris/009_L_01.png"]
    assert rows["source/iris/002_L_01.png"]["failure"] is None
    assert rows["source/iris/009_L_01.png"]["failure"] == "unreadable"


def test_embeddings_are_those_of_the_recogniser_in_both_formats(world, tmp_path):
    config, source, _, recogniser = world
    for suffix in ("parquet", "csv"):
        predict(config, source=str(source), out=str(tmp_path / f"out.{suffix}"), embeddings=True)
    data = (source / "iris" / "001_L_01.png").read_bytes()
    sample = recogniser.acquire(data, Modality.IRIS)
    expected = recogniser.embed(Modality.IRIS, sample.image[None], sample.mask[None])[0]
    with (tmp_path / "out.csv").open(newline="") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    parquet = rows_of(tmp_path / "out.parquet")
    name = "iris/001_L_01.png"
    np.testing.assert_allclose(parquet[name]["embedding"], expected, atol=1e-5)
    np.testing.assert_allclose(json.loads(table[name]["embedding"]), expected, atol=1e-5)
    assert float(table[name]["probability"]) == pytest.approx(
        parquet[name]["probability"], abs=1e-6
    )
    assert table["fingerprint/001_L_thumb_01.png"]["embedding"] == ""


def chunks_of(config, size, executor="sequential"):
    return changed(config, "preprocess", chunk_size=size, executor=executor, workers=2)


@pytest.mark.parametrize(
    ("size", "executor"), [(1, "sequential"), (5, "multiprocessing"), (5, "ray")]
)
def test_chunks_and_executors_give_the_same_table(world, tmp_path, size, executor):
    config, _, hostile, _ = world
    one, many = tmp_path / "one.parquet", tmp_path / "many.parquet"
    predict(config, source=str(hostile), out=str(one), embeddings=True)
    config = chunks_of(config, size, executor)
    result = predict(config, source=str(hostile), out=str(many), embeddings=True)
    assert result.executor == executor
    one, many = pq.read_table(one), pq.read_table(many)
    for name in ("path", "modality", "position", "quality", "failure", "subject_id"):
        assert many[name].equals(one[name]), name
    for row, expected in zip(many.to_pylist(), one.to_pylist(), strict=True):
        if expected["embedding"]:
            assert row["embedding"] == pytest.approx(expected["embedding"], abs=1e-5)
            assert row["probability"] == pytest.approx(expected["probability"], abs=1e-5)
        else:
            assert row["embedding"] is None


def test_a_delta_table_is_replaced_in_one_commit(world, tmp_path):
    config, source, hostile, _ = world
    target = tmp_path / "out.delta"
    predict(config, source=str(source), out=str(target), embeddings=True)
    predict(config, source=str(hostile), out=str(tmp_path / "out.parquet"))
    predict(config, source=str(hostile), out=str(target))
    table = DeltaTable(target)
    assert table.version() == 1
    assert table.to_pyarrow_table().equals(pq.read_table(tmp_path / "out.parquet"))
    assert DeltaTable(target, version=0).to_pyarrow_table().num_rows == 4 * 2 + 4
    assert not list(tmp_path.glob(".*"))
    shutil.move(target, tmp_path / "table")  # an existing table needs no suffix
    predict(config, source=str(source), out=str(tmp_path / "table"))
    assert DeltaTable(tmp_path / "table").version() == 2


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.delta"])
def test_a_run_that_fails_leaves_nothing_behind(world, tmp_path, monkeypatch, name):
    config, source, _, _ = world
    target = tmp_path / name
    if target.suffix != ".delta":
        target.write_bytes(b"from before")

    def fails(*args):
        raise RuntimeError("in mid-write")

    monkeypatch.setattr(Recogniser, "closed_set", fails)
    before = [path.name for path in tmp_path.iterdir()]
    with pytest.raises(RuntimeError):
        predict(config, source=str(source), out=str(target))
    assert [path.name for path in tmp_path.iterdir()] == before
    assert not before or target.read_bytes() == b"from before"


def test_what_cannot_work_is_said(world, tmp_path):
    config, source, _, _ = world
    with pytest.raises(ConfigError, match=r"\.xlsx"):
        predict(config, source=str(source), out=str(tmp_path / "out.xlsx"))
    for name in ("s3://bucket/out.parquet", "s3://bucket/out.delta", "file:///out.csv"):
        with pytest.raises(ConfigError, match="local disk"):
            predict(config, source=str(source), out=name)
    with pytest.raises(SourceError):
        predict(config, source=str(tmp_path / "missing"), out=str(tmp_path / "out.csv"))
    with pytest.raises(SourceError):
        predict(config, source=str(tmp_path / "missing.txt"), out=str(tmp_path / "out.csv"))
    with pytest.raises(ModelError):
        predict(config, source=str(source), out=str(tmp_path / "out.csv"), model="77")
    assert not list(tmp_path.iterdir())


def test_a_prefix_and_a_zip_of_an_object_store(world, tmp_path, bucket):
    config, source, _, _ = world
    store = Files(bucket)
    for path in source.rglob("*.png"):
        store.write(f"captures/{path.relative_to(source)}", path.read_bytes())
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", source)
    store.write("archive.zip", Path(archive).read_bytes())
    predict(config, source=str(source), out=str(tmp_path / "local.csv"))
    for remote in ("captures", "archive.zip"):
        predict(config, source=f"{bucket}/{remote}", out=str(tmp_path / "remote.csv"))
        assert (tmp_path / "remote.csv").read_text() == (tmp_path / "local.csv").read_text()
