"""Thousands of damaged and malicious files: each is taken in whole, or refused with a reason."""

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pytest

from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.imaging.decoding import decode
from biometric_core.storage.store import Store
from tests.faults.hostile_files import (
    SUFFIXES,
    bombs,
    deep_png,
    hostile_zip,
    image,
    mutated,
    repeated,
)
from tests.unit.stages.test_ingest import write

KEY = "k" * 32
INGEST = """
    import json, re, sys
    from dataclasses import asdict
    from pathlib import Path
    from biometric_core.config import load_config
    from biometric_core.stages.ingest import ingest

    result = ingest(load_config("test", {"ingest": {"max_refused_share": 1.0}}), source=sys.argv[1])
    # Not ru_maxrss, in which a child begins with what its parent had.
    peak = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]
    print(json.dumps(asdict(result) | {"peak": int(peak) // 1024}))
"""


def ingest_apart(config, source: Path) -> dict:
    """In a process of its own; its result, and the most memory it took in MiB."""
    environment = {"BIOMETRIC__STORAGE__ROOT": config.storage.root, "BIOMETRIC_PSEUDONYM_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INGEST), str(source)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_each_is_accepted_or_refused(
    config, files: dict[str, bytes], expected: Mapping[str, bool | None] = MappingProxyType({})
) -> None:
    """Each file is in one table; in the one where it must be, where that is known."""
    store, names = Store.of(config), Pseudonymiser(KEY.encode())
    accepted = set(store.read("captures")["capture_id"].to_pylist())
    refused = {row["file_id"]: row["reason"] for row in store.read("quarantine").to_pylist()}
    for name, data in files.items():
        content = hashlib.sha256(data).hexdigest()
        file_id = names.of_file("folder", PurePosixPath(name), content)
        assert (content in accepted) != (file_id in refused), (name, refused.get(file_id))
        assert expected.get(name) in (None, content in accepted), (name, refused.get(file_id))
    assert all(refused.values())
    for row in store.read("captures").to_pylist():
        data = store.files.read(row["uri"])
        assert hashlib.sha256(data).hexdigest() == row["capture_id"]
        assert decode(data, config.ingest).shape == (row["height"], row["width"])


@pytest.mark.long
def test_of_2000_mutated_files_each_is_a_whole_capture_or_refused(config, tmp_path):
    files, expected = {}, {}
    for number in range(2_000):
        suffix = SUFFIXES[number // 7 % 4]  # any name for any content
        name = f"iris/{number // 40:03}_L_{number:05}.{suffix}"
        files[name], expected[name] = mutated(number)
    files = {name: data for name, data in files.items() if data}
    assert len(set(files.values())) == len(files) == 2_000
    for name, data in files.items():
        write(tmp_path / "s" / name, data)
    result = ingest_apart(config, tmp_path / "s")
    assert result["seen"] == result["added"] + result["refused"] == 2_000
    assert result["added"] > 200, "some are whole"
    assert {"truncated", "not_an_image", "too_large"} <= set(result["reasons"])
    assert result["peak"] < 1024
    assert Counter(expected.values())[True] > 50
    assert Counter(expected.values())[False] > 50
    assert_each_is_accepted_or_refused(config, files, expected)


@pytest.mark.long
def test_of_500_files_with_repeated_parts_each_is_a_whole_capture_or_refused(config, tmp_path):
    files = {f"iris/{n // 40:03}_L_{n:05}.{SUFFIXES[n % 4]}": repeated(n) for n in range(500)}
    files = {
        name: data for name, data in files.items() if len(data) <= config.ingest.max_file_bytes
    }
    for name, data in files.items():
        write(tmp_path / "s" / name, data)
    result = ingest_apart(config, tmp_path / "s")
    assert result["seen"] == result["added"] + result["refused"] + result["known"] == len(files)
    assert result["added"] > 50, "some are whole"
    assert {"too_complex", "several_images"} <= set(result["reasons"])
    assert result["peak"] < 1024
    assert_each_is_accepted_or_refused(config, files)


@pytest.mark.long
def test_bombs_are_refused_or_read_in_bounded_memory(config, tmp_path):
    made = bombs()
    files = {f"iris/{n:03}_L_01.bmp": data for n, data in enumerate(made.values())}
    for copy in range(2, 6):  # so that threads meet in the largest one that is allowed
        files[f"iris/100_L_{copy:02}.bmp"] = deep_png(copy)
    for name, data in files.items():
        write(tmp_path / "s" / name, data)
    result = ingest_apart(config, tmp_path / "s")
    assert result["added"] + result["refused"] == len(files)
    assert result["reasons"]["too_large"] >= 3
    assert result["peak"] < 1024
    assert_each_is_accepted_or_refused(config, files)


@pytest.mark.long
def test_of_a_hostile_zip_only_the_whole_files_are_taken(config, tmp_path):
    good = {f"iris/{n:03}_L_01.bmp": image(random.Random(n), "bmp") for n in range(5)}
    data, reasons = hostile_zip(good)
    (tmp_path / "s.zip").write_bytes(data)
    result = ingest_apart(config, tmp_path / "s.zip")
    assert (result["added"], result["refused"]) == (len(good), len(reasons))
    assert result["reasons"] == Counter(reasons.values())
    assert result["peak"] < 512
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not any(f"{n}_L_01" in name for n in (901, 902, 903) for name in written)
    captures = Store.of(config).read("captures")["capture_id"].to_pylist()
    assert set(captures) == {hashlib.sha256(data).hexdigest() for data in good.values()}
