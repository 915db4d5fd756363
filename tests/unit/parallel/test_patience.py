import os

import pytest

from biometric_core.parallel.patience import patience, ray_start_limits
from biometric_core.parallel.thread_limits import usable_cores


@pytest.mark.parametrize(("waiting", "times"), [(0, 1), (1, 2), (4, 5), (500, 10)])
def test_patience_follows_what_waits_for_each_core(waiting, times, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (float(waiting * usable_cores()), 0.0, 0.0))
    assert patience(30.0) == pytest.approx(30.0 * times)


def test_rays_limits_are_whole_seconds_and_the_users_own_win(monkeypatch):
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "7")
    limits = ray_start_limits()
    assert limits.pop("RAY_raylet_start_wait_time_s") == "7"
    assert all(int(seconds) >= 30 for seconds in limits.values())
