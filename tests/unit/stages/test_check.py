import re
from datetime import timedelta

import pyarrow as pa
import pytest

from biometric_core.data.inventory import data_figures
from biometric_core.errors import DataError
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.check import check, judge
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from tests.support.tiny_store import HISTORY, changed, fill, small
from tests.unit.data.test_inventory import fail, refuse


@pytest.fixture
def tiny(config):
    config = small(config)
    fill(config, subjects=6, impressions=range(1, 4))
    return config


def gates(config, **limits):
    nothing = dict.fromkeys(type(config.check).model_fields)
    config = changed(config, "check", **{**nothing, **limits})
    found = data_figures(Store.of(config), config)
    return {(gate.name, gate.of): gate.holds for gate in judge(found, config.check)}


def test_the_report_is_written_and_logged_once_for_the_same_tables(tiny):
    store = Store.of(tiny)
    refuse(store, truncated=2)
    first = check(tiny)
    assert (first.captures, first.subjects, first.reused) == (36, 6, False)
    assert first.refused == {"truncated": 2}
    page = store.files.read(first.report).decode()
    assert "36 captures of 6 people" in page
    assert page.count("data:image/png") >= 5
    info = runs.get_run(tiny, first.run_id)
    assert info.tags["kind"] == "data"
    assert info.tags["passed"] == "true"
    assert info.tags["captures_version"] == str(store.version("captures"))
    assert info.metrics["iris_captures"] == 18
    assert info.metrics["refused_share"] == pytest.approx(2 / 38)
    again = check(tiny)
    assert again.reused
    assert (again.run_id, again.report) == (first.run_id, first.report)
    fill(tiny, subjects=7, impressions=range(1, 2))
    later = check(tiny)
    assert later.run_id != first.run_id
    assert later.report != first.report


def test_a_report_that_was_deleted_is_made_again_in_the_same_run(tiny):
    first = check(tiny)
    Store.of(tiny).files.delete(first.report)
    again = check(tiny)
    assert (again.run_id, again.report) == (first.run_id, first.report)
    assert Store.of(tiny).files.exists(again.report)


def test_a_failed_gate_is_an_error_after_the_report(tiny):
    strict = changed(tiny, "check", min_subjects=7)
    with pytest.raises(DataError, match=r"iris: min_subjects is 6, at least 7") as raised:
        check(strict)
    report = re.search(r"reports/data/\S+\.html", str(raised.value))[0]
    assert b"fails" in Store.of(tiny).files.read(report)
    logged = runs.find_run(tiny, tag="passed", value="false", status=["FINISHED"])
    assert logged.tags["kind"] == "data"
    check(tiny)  # other gates, another verdict


def test_each_gate_has_its_figure(tiny):
    store = Store.of(tiny)
    fail(store, [f"00{n}i1" for n in range(6)], "no_pupil")
    refuse(store, truncated=2, duplicate_of_other_subject=2)
    assert gates(tiny) == {}
    assert gates(tiny, min_subjects=6) == {
        ("min_subjects", "iris"): True,
        ("min_subjects", "fingerprint"): True,
    }
    assert not all(gates(tiny, min_impressions=3.5).values())
    assert all(gates(tiny, min_impressions=3).values())
    assert gates(tiny, max_failure_to_acquire=0.3) == {
        ("max_failure_to_acquire", "iris"): False,
        ("max_failure_to_acquire", "fingerprint"): True,
    }
    assert gates(tiny, max_refused_share=0.1) == {("max_refused_share", "files"): True}
    assert gates(tiny, max_refused_share=0.09) == {("max_refused_share", "files"): False}
    assert gates(tiny, max_duplicates_share=0.04) == {("max_duplicates_share", "files"): False}


def test_a_bad_week_passes_where_the_window_says_so(tiny):
    """36 good captures, then a week of refused and failed ones, then a good day."""
    store = Store.of(tiny)
    refuse(store, HISTORY + timedelta(days=2), truncated=300, clutter=99)
    fill(tiny, subjects=6, impressions=range(4, 10), day=HISTORY + timedelta(days=5))
    fail(store, [f"00{n}i{i}" for n in range(6) for i in range(4, 10)], "no_pupil")
    with pytest.raises(DataError, match=r"fail 2 of .*check\.window_days") as raised:
        check(tiny)
    assert "iris: max_failure_to_acquire is 0.667, at most 0.3" in str(raised.value)

    windowed = changed(tiny, "check", window_days=7)
    fill(tiny, subjects=6, impressions=range(10, 12), day=HISTORY + timedelta(days=12))
    with pytest.raises(DataError, match="fail 2 of"):
        check(tiny)
    found = check(windowed)
    assert "files: max_refused_share is 0 since 2026-01-07, at most 0.5" in found.gates
    assert "iris: min_subjects is 6, at least 2" in found.gates, "counts are of all, as training is"
    page = store.files.read(found.report).decode()
    assert "iris since 2026-01-07" in page

    # What is refused after the last capture belongs to the window, whatever the clock says.
    refuse(store, HISTORY + timedelta(days=20), truncated=60)
    with pytest.raises(DataError, match=r"max_refused_share is 0\.714 since 2026-01-07"):
        check(windowed)


def test_a_modality_without_captures_is_not_judged(config):
    config = small(config)
    fill(config, subjects=3, modalities=(Modality.IRIS,))
    assert gates(config, min_subjects=1) == {("min_subjects", "iris"): True}


def test_nobody_is_named_and_nothing_in_a_detail_is_interpreted(tiny):
    store = Store.of(tiny)
    detail = "![x](/etc/passwd) <script>alert(1)</script> | `code` [link](http://example.org)"
    row = {"file_id": "f" * 64, "reason": "truncated", "bytes": 1, "detail": detail}
    store.append_new("quarantine", pa.Table.from_pylist([row], schema=TABLES["quarantine"]))
    page = re.sub(r"data:image/png[^\"]+", "", store.files.read(check(tiny).report).decode())
    assert not re.search(r"s00\d", page)
    assert "<script" not in page
    assert "<a " not in page
    assert 'src="/etc' not in page
    assert "f" * 12 in page
    assert "f" * 13 not in page


def test_without_captures_it_says_what_to_do(config):
    with pytest.raises(DataError, match="biometric ingest"):
        check(config)
