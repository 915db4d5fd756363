"""The release check: what a model must reach before it may be champion."""

import math
from collections.abc import Mapping
from typing import Any

from biometric_core.config import Release

_NAMES = ("iris", "fingerprint", "fused")


def check_release(metrics: Mapping[str, Any], release: Release) -> tuple[bool, list[str]]:
    """Hold an evaluation against the release thresholds.

    A modality without mated comparisons in the data can't be judged and is exempt; the fused
    figures must be there. A number that is missing or NaN never passes.

    Args:
        metrics: what `evaluate` made: `iris`, `fingerprint`, `fused` (each with `eer`, or None),
            `reasons` for what is None, and `latency` with `p50_ms`.
        release: the thresholds; None switches one off.

    Returns:
        Whether all hold, and a line for each failure and exemption, and for what a figure lacks.
    """
    failures, exemptions = [], []
    reasons = metrics.get("reasons", {})
    for name in _NAMES:
        limit = getattr(release, f"max_eer_{name}")
        if limit is None:
            continue
        figures = metrics.get(name)
        if figures is None and name != "fused":
            exemptions.append(f"exempt: {name}: {reasons.get(name, 'not evaluated')}")
            continue
        if f"{name}.visits" in reasons:
            exemptions.append(f"note: {name}: {reasons[f'{name}.visits']}")
        failures += _exceeds(f"{name} EER", (figures or {}).get("eer"), limit)
    if release.max_latency_ms is not None:
        latency = (metrics.get("latency") or {}).get("p50_ms")
        failures += _exceeds("latency in ms (median)", latency, release.max_latency_ms)
    return not failures, failures + exemptions


def _exceeds(name: str, value: float | None, limit: float) -> list[str]:
    if value is None or not math.isfinite(value):
        return [f"failed: {name} is missing or not a number (at most {limit:g} is allowed)"]
    return (
        [] if value <= limit else [f"failed: {name} is {value:.4g}, at most {limit:g} is allowed"]
    )
