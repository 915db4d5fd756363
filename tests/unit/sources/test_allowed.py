"""Which sources the params of a DAG may name: tried on real folders and links."""

import pytest

from biometric_core.config import Config, load_config
from biometric_core.errors import BiometricError, SourceError
from biometric_core.sources.allowed import allowed_source
from biometric_core.stages.acquire import acquire


@pytest.fixture
def places(tmp_path, monkeypatch) -> Config:
    """Folders of the product, one beside them, and links; the working folder is var's parent."""
    for name in ("data/sources", "inbox/2026-01-05", "var/source/history", "given", "data2", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "out" / "people.zip").write_bytes(b"PK")
    (tmp_path / "var" / "leads_out").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "leads_in").symlink_to(tmp_path / "given")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIOMETRIC_VAR", raising=False)
    return with_source(path=str(tmp_path / "given"))


def with_source(**source) -> Config:
    storage = {"root": "data", "inbox": "inbox"}
    return load_config("test", {"storage": storage, "source": source})


@pytest.mark.parametrize(
    "source",
    [
        *("data/sources", "data", "inbox/2026-01-05", "var/source/history", "given", "./given/"),
        *("out/leads_in", "var/../given", "file://{here}/given", "{here}/var"),
        "var/not there yet.zip",
    ],
)
def test_a_place_of_the_product_is_allowed_and_given_on_without_links(places, source, tmp_path):
    found = allowed_source(places, source.format(here=tmp_path))
    assert found.startswith(str(tmp_path))
    assert "leads" not in found
    assert ".." not in found


@pytest.mark.parametrize(
    "source",
    [
        *("out", "/", ".", "..", "", "/etc", "data2", "DATA", "var/leads_out", "var/../out"),
        *("var/leads_out/people.zip", "{here}/out/people.zip", "data/../../..", "~", "~root"),
        *("file:///etc", "file://{here}/out", "file:/etc", "data\0/../out", "Generator", "KAGGLE"),
        *("kaggle/../out", "generator/", "s3://bucket", "s3://data", "s3://bucket/var", " data"),
        *("data%2f..%2fout", "/proc/self/root{here}/out", "~nobody-of-this-name/x"),
        *("http://host/x", "S3://bucket/x", "gs://bucket/x", "s3://b/x?endpoint_override=h:1"),
    ],
)
def test_any_other_is_refused_in_one_line(places, source, tmp_path):
    with pytest.raises(BiometricError) as raised:
        allowed_source(places, source.format(here=tmp_path))
    assert "\n" not in str(raised.value)


def test_what_is_there_and_what_is_not_are_refused_alike(places):
    texts = set()
    for source in ("out/people.zip", "out/nothing.zip"):
        with pytest.raises(SourceError) as raised:
            allowed_source(places, source)
        texts.add(str(raised.value).replace(source, "X"))
    assert len(texts) == 1


@pytest.mark.parametrize("source", ["generator", "kaggle"])
def test_what_lands_in_the_store_needs_no_folder(places, source):
    assert allowed_source(with_source(allowed=[]), source) == source


def test_a_list_in_the_configuration_takes_the_place_of_the_default(places, tmp_path):
    config = with_source(allowed=["out", "s3://bucket/people", "s3://whole"])
    assert allowed_source(config, "out/people.zip") == str(tmp_path / "out" / "people.zip")
    for fine in (
        "s3://bucket/people",
        "s3://bucket/people/2026/",
        "s3://whole/x.zip",
        "s3://whole",
    ):
        assert allowed_source(config, fine) == fine
    for other in (
        *("s3://bucket", "s3://bucket/people2", "s3://bucket2/people", "s3://whole2", "s3://Whole"),
        *("s3://bucket/people/../else", "s3://bucket/people/%2e%2e/else", "s3://user@whole/x"),
        *("s3://whole:80/x", "s3://whole/x?scheme=http", "s3://whole/x#y", "data", "whole"),
        *("s3://whole/x%3Fendpoint_override=h", "s3://whole//x", "s3://whole\\@else/x"),
    ):
        with pytest.raises(BiometricError):
            allowed_source(config, other)


def test_the_command_line_and_the_configuration_stay_free(places, tmp_path):
    assert acquire(places, source="out/people.zip").kind == "zip"
    assert acquire(with_source(kind="folder", path="out")).path == "out"


def test_an_empty_entry_would_allow_the_working_folder(places):
    with pytest.raises(BiometricError, match=r"source\.allowed"):
        with_source(allowed=[""])
