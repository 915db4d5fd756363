"""Files of all kinds, against Pillow: the matrix of `make bench-inputs`, and single ones."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from benchmarks.inputs.__main__ import wrong_with
from benchmarks.inputs.matrix import cases, many_scans, samples
from biometric_core.config import Ingest, Source
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import decode, read
from biometric_core.imaging.formats import jpeg, wsq
from biometric_core.sources.sensor_folders import sensor_bits
from tests.support.handmade import WHITE_IS_ZERO, chunk, exif, png, tiff, turned

CASES = cases()
GRAY = samples().astype(np.uint8)
WSQ = next(case.data for case in CASES if case.name == "wsq 320x240")
SHORT = 3


def refusal(data: bytes, bits: int | None = None) -> CaptureRefused:
    with pytest.raises(CaptureRefused) as refused:
        decode(data, Ingest(), bits)
    return refused.value


def saved(kind: str, image: np.ndarray = GRAY, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def test_there_are_hundreds_of_files_each_of_another_name():
    assert len({case.name for case in CASES}) == len(CASES) >= 400


@pytest.mark.parametrize("start", range(6))
def test_files_of_all_kinds_are_read_as_any_viewer_shows_them_or_refused(start):
    assert {case.name: said for case in CASES[start::6] if (said := wrong_with(case))} == {}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_a_limit_on_sides_is_held_against_what_is_seen(orientation, order):
    wide = np.tile(GRAY, (1, 3))
    data = png(turned(wide, orientation), before=chunk(b"eXIf", exif(orientation, order)))
    np.testing.assert_array_equal(decode(data, Ingest()), wide)
    with pytest.raises(CaptureRefused, match="too_small"):
        decode(data, Ingest(min_side=GRAY.shape[0] + 1))


def test_an_orientation_in_xmp_counts_as_pillow_takes_it():
    packet = b'<x:xmpmeta tiff:Orientation="3"></x:xmpmeta>'
    data = saved("JPEG", turned(GRAY, 3), quality=98, xmp=packet)
    plain = decode(saved("JPEG", GRAY, quality=98), Ingest())
    assert np.abs(decode(data, Ingest()).astype(int) - plain).max() <= 8


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("white", [1, WHITE_IS_ZERO])
def test_a_sensors_bits_are_scaled_to_the_full_range(bits, white):
    few = samples(1, bits)
    stored = 2**bits - 1 - few if white == WHITE_IS_ZERO else few
    found = decode(tiff(stored, bits=16, photometric=white), Ingest(), bits)
    np.testing.assert_allclose(found, few / (2**bits - 1) * 255, atol=0.51)


def test_an_unclear_depth_is_told_with_the_largest_value_and_the_likely_one():
    said = refusal(png(GRAY.astype(np.uint16) * 4, bits=16))
    assert said.reason == "unclear_depth"
    assert "16 bit file whose largest value is 1020: 10 bits?" in said.detail
    assert "source.bits" in said.detail
    over = refusal(png(samples(1, 12), bits=16), bits=10)
    assert "4095, more than the 10 bits" in over.detail


def test_a_dark_image_of_16_bits_is_read():
    dark = samples(1, 16) // 3  # brighter than a sensor of 14 bits can be
    np.testing.assert_allclose(decode(png(dark, bits=16), Ingest()), dark / 257, atol=0.51)
    darker = GRAY.astype(np.uint16) // 8 * 257  # made of 8 bits: no sensor counts like that
    np.testing.assert_array_equal(decode(png(darker, bits=16), Ingest()), GRAY // 8)
    small = samples(1, 12)
    assert decode(png(small, bits=16), Ingest(), 16).max() == 16, "whoever says 16 is believed"


@pytest.mark.parametrize(
    ("bits", "sensor", "expected"),
    [
        (12, "door", 12),
        (None, "door", None),
        ({"door": 10}, "door", 10),
        ({"door": 10}, None, None),
    ],
)
def test_bits_are_of_all_sensors_or_of_each(bits, sensor, expected):
    assert sensor_bits(Source(bits=bits), sensor) == expected
    assert sensor_bits(Source(sensor="door", bits={"door": 14}), None) == 14


def test_a_jpeg_of_hours_is_refused_in_no_time_and_one_of_100_scans_is_none():
    data = saved("JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert "1000 scans, at most 100" in refusal(many_scans(data, 1001 - scans)).detail
    jpeg.check(many_scans(data, 101 - scans))
    thumbnail = struct.pack(">2sH", b"\xff\xe2", 2 + 400) + b"\xff\xda" * 200
    assert decode(data[:2] + thumbnail + data[2:], Ingest()).shape == GRAY.shape


def test_pages_that_are_no_further_image_are_none():
    small = tiff(GRAY, pages=[{254: (4, [1])}, {254: (4, [4])}, {255: (SHORT, [2])}])
    np.testing.assert_array_equal(decode(small, Ingest()), GRAY)


def test_a_place_beyond_all_files_is_no_error():
    far = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 2**64 - 8) + bytes(40)
    assert refusal(far).reason == "not_an_image"
    box = struct.pack(">I4sQ", 1, b"free", 2**64 - 8)
    assert refusal(b"\0\0\0\x0cjP  \r\n\x87\n" + box + bytes(40)).reason == "truncated"


@pytest.mark.parametrize("size", [(63, 300), (300, 20)])
def test_a_wsq_too_small_for_its_own_bands_is_refused(size):
    data = bytearray(WSQ)
    struct.pack_into(">HH", data, data.find(b"\xff\xa2\0\x11") + 6, *size)
    assert refusal(bytes(data)).reason == "too_small"


@pytest.mark.parametrize("size", [(200, 320), (240, 300), (4000, 4000)])
def test_a_wsq_whose_codes_do_not_fit_its_size_is_never_decoded(size, monkeypatch):
    import _wsq

    monkeypatch.setattr(_wsq, "decompress", lambda data: pytest.fail("given to the decoder"))
    data = bytearray(WSQ)
    struct.pack_into(">HH", data, data.find(b"\xff\xa2\0\x11") + 6, *size)
    assert refusal(bytes(data)).reason == "truncated"


def test_only_what_was_looked_at_of_a_wsq_reaches_its_decoder(monkeypatch):
    import _wsq

    seen, real = [], _wsq.decompress
    monkeypatch.setattr(_wsq, "decompress", lambda data: seen.append(data) or real(data))
    comment = b"\xff\xa8\0\x07hello"
    found = read(WSQ[:2] + comment + WSQ[2:] + b"behind", Ingest())
    assert found.dpi == 500
    assert b"hello" not in seen[0]
    assert b"behind" not in seen[0]
    np.testing.assert_array_equal(found.gray, wsq.decode(WSQ)[0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "JPEG2000", "WSQ"])
def test_each_byte_that_is_cut_off_is_noticed(kind):
    import wsq as plugin  # noqa: F401  # registers itself with Pillow

    data = saved(kind)
    assert decode(data, Ingest()).shape == GRAY.shape
    for kept in (len(data) // 3, len(data) // 2, len(data) - 20, len(data) - 1):
        assert refusal(data[:kept]).reason in {"truncated", "not_an_image"}, kept


@pytest.mark.parametrize("channels", [1, 3])
def test_scans_behind_the_only_one_of_a_baseline_jpeg_cost_nothing(channels):
    data = saved("JPEG", samples(channels).astype(np.uint8))
    again = many_scans(data, 1_000)
    assert refusal(again).reason in {"too_complex", "truncated"}
