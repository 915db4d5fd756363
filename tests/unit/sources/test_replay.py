import hashlib
import os
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.config import Config, Ingest
from biometric_core.errors import SourceError
from biometric_core.imaging.decoding import decode
from biometric_core.schemas import Modality
from biometric_core.sources.layouts import SourceCapture, flat_path, parse
from biometric_core.sources.reader import SourceFile
from biometric_core.sources.replay import replay
from biometric_core.sources.replay_plan import Item, Settings, deal_out
from biometric_core.sources.sensor_folders import sensor_of
from tests.support.small_sources import flat_people, image, kaggle_people, write_folder, write_zip

FIRST = date(2026, 1, 5)
DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]
ROOT = "IRIS and FINGERPRINT DATASET/"


def written(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "replay.json"
    }


def place(name: str) -> str:
    """The history or a day."""
    return name.split("/")[0] if name.startswith("history/") else name.split("/")[1]


def people_by_place(out: Path) -> dict[str, set[str]]:
    people = defaultdict(set)
    for path in out.rglob("*.*"):
        capture = parse(path.relative_to(out))
        if capture:
            people[place(path.relative_to(out).as_posix())].add(capture.subject)
    return people


@pytest.fixture
def calm(tmp_path: Path) -> tuple[Path, Path]:
    source = write_folder(tmp_path / "source", flat_people(20, 5))
    replay(
        Config(),
        source=str(source),
        out=str(tmp_path / "out"),
        first_day=FIRST,
        changed_sensor=False,
    )
    return source, tmp_path / "out"


def test_every_capture_comes_once_byte_for_byte(calm):
    source, out = calm
    before = sorted(path.read_bytes() for path in source.rglob("*.*"))
    assert sorted(written(out).values()) == before


def test_who_comes_when(calm):
    people = people_by_place(calm[1])
    assert set(people) == {"history", *DAYS}
    known = people["history"]
    assert len(known) == 18  # 12 % of 20 are held back
    new = [people[day] - known for day in DAYS]
    assert [len(group) for group in new] == [1, 1, 0]
    assert not set.intersection(*new)
    assert people[DAYS[2]] >= known
    assert people[DAYS[0]] & people[DAYS[1]] & known == set()
    assert len(people[DAYS[0]] & known) == len(people[DAYS[1]] & known) == 9


def test_known_identities_leave_three_in_the_history_and_new_people_come_whole(calm):
    counts = defaultdict(Counter)
    for name in written(calm[1]):
        capture = parse(Path(name))
        counts[capture.subject, capture.position][place(name)] += 1
    for places in counts.values():
        if "history" in places:
            assert places["history"] == 3
            assert places[DAYS[2]] == 1
            assert places[DAYS[0]] + places[DAYS[1]] == 1
        else:
            assert list(places.values()) == [5]


def test_impression_order_does_not_tell_history_from_days(calm):
    # With a fixed choice one of these would be 0 or all.
    held = Counter(
        parse(Path(name)).impression
        for name in written(calm[1])
        if place(name) == DAYS[2] and "_L_" in name and name.count("/") == 3 and "iris" in name
    )
    assert set(held) == {1, 2, 3, 4, 5}
    assert max(held.values()) < 12


def test_result_counts_what_is_there(tmp_path):
    source = write_folder(tmp_path / "source", flat_people(9, 5))
    out = tmp_path / "out"
    result = replay(
        Config(), source=str(source), out=str(out), first_day=FIRST, changed_sensor=False
    )
    people = people_by_place(out)
    assert (result.history, result.inbox) == (str(out / "history"), str(out / "inbox"))
    assert [day["day"] for day in result.days] == DAYS
    for day in result.days:
        names = [name for name in written(out) if place(name) == day["day"]]
        assert day["captures"] == len(names) > 0
        assert day["new_subjects"] == len(people[day["day"]] - people["history"])
        assert day["sensor_change"] is None


def test_changed_sensor_changes_the_last_day_only_and_says_so(tmp_path):
    files = flat_people(6, 5)
    source = write_folder(tmp_path / "source", files)
    out = tmp_path / "out"
    result = replay(Config(), source=str(source), out=str(out), first_day=FIRST)
    assert [bool(day["sensor_change"]) for day in result.days] == [False, False, True]
    assert result.days[2]["sensor_change"].startswith("simulated: ")
    content = {hashlib.sha256(data).digest() for data in files.values()}
    for name, data in written(out).items():
        changed = place(name) == DAYS[2]
        assert (hashlib.sha256(data).digest() in content) is not changed
        assert name.endswith(".png") is changed
        if changed and "/iris/" in name:
            original = decode(files["/".join(name.split("/")[-2:]).replace("png", "bmp")], Ingest())
            now = decode(data, Ingest())
            assert now.shape == original.shape
            assert np.abs(now.astype(int) - original).mean() > 1
    assert len(written(out)) == len(files)


def test_same_inputs_same_bytes_and_nothing_is_rewritten(tmp_path):
    files = flat_people(6, 5)
    folder = write_folder(tmp_path / "source", files)
    archive = write_zip(tmp_path / "a.zip", {f"deep/er/{k}": v for k, v in reversed(files.items())})
    one, two = tmp_path / "one", tmp_path / "two"
    first = replay(Config(), source=str(folder), out=str(one), first_day=FIRST)
    replay(Config(), source=str(archive), out=str(two), first_day=FIRST)
    assert written(one) == written(two)
    for path in one.rglob("*"):
        os.utime(path, (1, 1))
    assert replay(Config(), source=str(folder), out=str(one), first_day=FIRST) == first
    assert {path.stat().st_mtime for path in one.rglob("*")} == {1}


def test_a_stopped_replay_is_completed(tmp_path):
    source = write_folder(tmp_path / "source", flat_people(4, 5))
    out = tmp_path / "out"
    replay(Config(), source=str(source), out=str(out), first_day=FIRST)
    whole = written(out)
    for name in list(whole)[::3]:
        (out / name).unlink()
    replay(Config(), source=str(source), out=str(out), first_day=FIRST)
    assert written(out) == whole


def test_another_seed_deals_differently(tmp_path):
    source = write_folder(tmp_path / "source", flat_people(6, 5))
    outs = [tmp_path / "0", tmp_path / "1"]
    for seed, out in enumerate(outs):
        replay(
            Config(),
            source=str(source),
            out=str(out),
            first_day=FIRST,
            seed=seed,
            changed_sensor=False,
        )
    assert set(written(outs[0])) != set(written(outs[1]))


def test_two_stories_are_never_mixed_in_one_folder(tmp_path):
    source = write_folder(tmp_path / "source", flat_people(4, 5))
    out = tmp_path / "out"
    arguments = {"source": str(source), "out": str(out), "changed_sensor": False}
    replay(Config(), first_day=FIRST, **arguments)
    before = written(out)
    with pytest.raises(SourceError, match="other settings"):
        replay(Config(), first_day=FIRST, seed=1, **arguments)
    (source / "iris/001_L_01.bmp").write_bytes(image(999))
    with pytest.raises(SourceError, match="another source"):
        replay(Config(), first_day=FIRST, **arguments)
    (out / "replay.json").unlink()
    with pytest.raises(SourceError, match="didn't write"):
        replay(Config(), first_day=FIRST, **arguments)
    assert written(out) == before


def test_kaggle_names_and_single_fingers(tmp_path):
    source = write_zip(tmp_path / "a.zip", kaggle_people(ROOT, 12))
    out = tmp_path / "out"
    replay(Config(), source=str(source), out=str(out), first_day=FIRST, changed_sensor=False)
    names = list(written(out))
    assert not [name for name in names if "somebody" in name]
    assert b"somebody" not in (out / "replay.json").read_bytes()
    people = people_by_place(out)
    assert set.union(*people.values()) == {f"{number:03d}" for number in range(1, 13)}
    fingers = {
        place(name)
        for name in names
        if "/fingerprint/" in name and parse(Path(name)).subject in people["history"]
    }
    assert fingers == {"history"}
    # Numbered by value: the source's 2 is 002 and its 10 is 010.
    expected = kaggle_people(ROOT, 12)[f"{ROOT}10/Fingerprint/10__F_Left_thumb_finger.BMP"]
    (found,) = (n for n, data in written(out).items() if data == expected)
    assert found.endswith("fingerprint/010_L_thumb_01.bmp")


def test_clutter_copies_and_unreadable_files_are_left_out_and_told(tmp_path, caplog):
    files = flat_people(4, 5) | {"desktop.ini": b"x", "readme.txt": b"x"}
    files["iris/001_L_06.bmp"] = files["iris/001_L_01.bmp"]
    files["../iris/009_L_01.bmp"] = b"escape"
    source = write_zip(tmp_path / "a.zip", files)
    out = tmp_path / "out"
    replay(Config(), source=str(source), out=str(out), first_day=FIRST, changed_sensor=False)
    assert len(written(out)) == 60
    for reason in ("duplicate", "unknown_layout", "path_leaves_archive"):
        assert f"'{reason}': 1" in caplog.text
    assert "001_L" not in caplog.text


def test_sensors_stay_apart_and_a_bad_name_is_left_out(tmp_path, caplog):
    people = flat_people(4, 5)
    files = {f"sensor=door-{place % 2}/{name}": people[name] for place, name in enumerate(people)}
    files |= {"sensor=Ada L/iris/001_L_09.bmp": image(900), "iris/001_L_10.bmp": image(901)}
    source = write_folder(tmp_path / "source", files)
    replay(Config(), source=str(source), out=str(tmp_path / "out"), first_day=FIRST)
    found = [sensor_of(Path(name)) for name in written(tmp_path / "out")]
    assert Counter(found) == {"door-0": 30, "door-1": 30, None: 1}
    assert "'bad_sensor_name': 1" in caplog.text
    assert "Ada" not in caplog.text


def test_what_is_no_image_reaches_ingest_as_it_is(tmp_path):
    files = {name: b"no image " + name.encode() for name in flat_people(4, 5)}
    source = write_folder(tmp_path / "source", files)
    replay(Config(), source=str(source), out=str(tmp_path / "out"), first_day=FIRST)
    assert sorted(written(tmp_path / "out").values()) == sorted(files.values())


def test_sources_without_captures_and_bad_arguments(tmp_path):
    source = write_folder(tmp_path / "source", {"notes.txt": b"x"})
    arguments = {"source": str(source), "out": str(tmp_path / "out"), "first_day": FIRST}
    with pytest.raises(SourceError, match="no capture"):
        replay(Config(), changed_sensor=False, **arguments)
    with pytest.raises(SourceError, match="days >= 1"):
        replay(Config(), days=0, **arguments)
    with pytest.raises(SourceError, match="new_subjects_share"):
        replay(Config(), new_subjects_share=1.0, **arguments)
    assert not (tmp_path / "out").exists()


@given(
    counts=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), min_size=1, max_size=20),
    days=st.integers(1, 6),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_any_plan_loses_nothing_and_keeps_a_history(counts, days, share, seed):
    items = [
        Item(SourceFile(flat_path(capture, ".bmp"), 1, bytes), f"{i}-{position}-{n}", capture)
        for i, sizes in enumerate(counts)
        for size, position in zip(sizes, ("left", "right"), strict=True)
        for n in range(1, size + 1)
        for capture in [SourceCapture(f"{i:03d}", Modality.IRIS, position, n)]
    ]
    settings = Settings("2026-01-05", days, share, seed, None)
    plan = deal_out(items, settings)
    assert [item for item, _ in plan] == items
    assert plan == deal_out(items, settings)
    places = defaultdict(Counter)
    subject_places = defaultdict(set)
    for item, day in plan:
        assert day is None or 0 <= day < days
        places[item.capture.subject, item.capture.position][day] += 1
        subject_places[item.capture.subject].add(day)
    for (subject, _), found in places.items():
        size = found.total()
        if None in subject_places[subject]:
            assert found[None] == size - min(max(size - 2, 0), 2)
            assert size < 3 or found[days - 1] >= 1
        else:
            assert len(subject_places[subject]) == 1
    held_back = sum(None not in found for found in subject_places.values())
    assert held_back <= len(subject_places) / 2
