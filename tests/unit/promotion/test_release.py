import math

import pytest

from biometric_core.config import Release
from biometric_core.promotion.release import check_release

LIMITS = Release(max_eer_iris=0.1, max_eer_fingerprint=0.2, max_eer_fused=0.05, max_latency_ms=100)


def figures(iris=0.05, fingerprint=0.1, fused=0.02, latency=20.0):
    found = {"iris": {"eer": iris}, "fingerprint": {"eer": fingerprint}, "fused": {"eer": fused}}
    return {**found, "latency": {"p50_ms": latency}, "reasons": {}}


def test_all_thresholds_hold():
    assert check_release(figures(), LIMITS) == (True, [])
    assert check_release(figures(0.1, 0.2, 0.05, 100.0), LIMITS)[0], "equal is allowed"


@pytest.mark.parametrize("name", ["iris", "fingerprint", "fused", "latency"])
@pytest.mark.parametrize("value", [1000.0, math.nan, None, math.inf])
def test_each_threshold_alone_stops_a_release(name, value):
    ok, reasons = check_release(figures(**{name: value}), LIMITS)
    assert not ok
    assert len(reasons) == 1
    assert reasons[0].startswith(f"failed: {name}")


def test_a_modality_that_cannot_be_judged_is_exempt_and_says_why():
    found = {**figures(), "fingerprint": None, "reasons": {"fingerprint": "no mated pair"}}
    ok, reasons = check_release(found, LIMITS)
    assert ok
    assert reasons == ["exempt: fingerprint: no mated pair"]


def test_fused_figures_and_latency_must_be_there():
    assert not check_release({**figures(), "fused": None}, LIMITS)[0]
    assert not check_release({**figures(), "latency": None}, LIMITS)[0]
    assert not check_release({}, LIMITS)[0]


def test_null_switches_a_threshold_off():
    off = Release(
        max_eer_iris=None, max_eer_fingerprint=None, max_eer_fused=None, max_latency_ms=None
    )
    assert check_release({}, off) == (True, [])
