"""How long to wait for a start: the busier the machine, the longer."""

import os

from biometric_core.parallel.thread_limits import usable_cores

_MOST = 10.0  # times as long as alone: what takes longer hangs
# Seconds that Ray gives the parts of a node on an idle machine, several times what they need
# there. All are upper bounds: a node that is quicker waits for none of them.
_RAY_STARTS = {
    "RAY_gcs_server_port_wait_time_s": 60,
    "RAY_py_gcs_connect_timeout_s": 30,
    "RAY_raylet_start_wait_time_s": 60,
    "RAY_worker_register_timeout_seconds": 60,
}


def patience(seconds: float) -> float:
    """The time that something may take here and now.

    Args:
        seconds: that it may take on a machine that does nothing else.

    Returns:
        Those seconds, and as many again for each process a core that wanted to run in the last
        minute; at most ten times as many.
    """
    wanting = os.getloadavg()[0] / usable_cores()
    return seconds * min(1.0 + wanting, _MOST)


def ray_start_limits() -> dict[str, str]:
    """Ray's own limits for its start, as its environment variables; what the user has set wins."""
    return {
        name: os.environ.get(name) or str(round(patience(seconds)))
        for name, seconds in _RAY_STARTS.items()
    }
