"""What a file is and how deep a sensor sees, whatever its name."""

import cv2
import numpy as np

from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.conftest import png
from tests.unit.stages.test_ingest import noise, with_limits, write


def test_a_file_of_another_kind_is_named_whatever_its_suffix(config, tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    write(tmp_path / "s/iris/001_L_01.png", png(noise(1, (240, 320))))
    write(tmp_path / "s/iris/001_L_02.heic", heic)
    write(tmp_path / "s/iris/001_L_03.jpg", heic)
    result = ingest(with_limits(config, max_refused_share=1.0), source=str(tmp_path / "s"))
    assert result.reasons == {"unknown_layout": 1, "unsupported_format": 1}
    rows = Store.of(config).read("quarantine").to_pylist()
    assert all("HEIC" in row["detail"] for row in rows)


def test_a_sensors_bits_are_asked_for_each_sensor(config, tmp_path):
    for seed, sensor in enumerate(("a", "b")):
        few = noise(seed, (240, 320)).astype(np.uint16) * 4
        data = cv2.imencode(".png", few)[1].tobytes()
        write(tmp_path / f"s/sensor={sensor}/iris/001_L_01.png", data)
    source = config.source.model_copy(update={"bits": {"a": 10}})
    known = config.model_copy(update={"source": source})
    result = ingest(known, source=str(tmp_path / "s"))
    assert (result.added, result.reasons) == (1, {"unclear_depth": 1})
    everything = source.model_copy(update={"bits": 10})
    again = ingest(known.model_copy(update={"source": everything}), source=str(tmp_path / "s"))
    assert (again.added, again.known, again.refused) == (1, 1, 0)
    assert Store.of(config).read("quarantine").num_rows == 0
