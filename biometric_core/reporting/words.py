"""Names and numbers as a reader wants them; an unknown name is shown as it is, readable."""

import re
from collections.abc import Mapping
from typing import Any

_NAMES = {
    "iris": "iris",
    "fingerprint": "fingerprint",
    "fused": "fused (sum of log-likelihood ratios)",
    "fused_feature": "feature fusion",
    "eer": "EER",
    "rank1": "rank-1 identification rate",
    "auc": "AUC",
    "cllr": "Cllr in bits",
    "n_mated": "mated comparisons",
    "n_non_mated": "non-mated comparisons",
    "n_subjects": "subjects",
    "p50_ms": "median in ms",
    "p95_ms": "95th percentile in ms",
    "f1": "F1",
    "fnmr": "FNMR",
    "fmr": "FMR",
    "position": "eye or finger",
    "fta": "failure to acquire",
    "config_digest": "configuration digest",
}
_AT_FMR = re.compile(r"fnmr_at_fmr_([\d.]+)")
_AT_DISCARD = re.compile(r"fnmr_discard_([\d.]+)")
_RATES = ("eer", "fnmr", "fmr", "rank", "rate")
_SHARES = ("accuracy", "precision", "recall", "f1")
NOTHING = "–"


def label(name: str) -> str:
    """A name of a value, a group or a picture, readable."""
    if name in _NAMES:
        return _NAMES[name]
    if found := _AT_FMR.fullmatch(name):
        return f"FNMR at FMR {_level(float(found[1]))}"
    if found := _AT_DISCARD.fullmatch(name):
        return f"{_level(float(found[1]))} discarded"
    return name.replace("_", " ")


def reason_label(name: str) -> str:
    """The label of a key of `reasons`: `iris.eer`, `groups.iris.sex`."""
    return ", ".join(label(part) for part in re.split(r"\.(?!\d)", name))


def percent(share: float) -> str:
    """A share or a rate in percent, as measured ones are shown everywhere."""
    return f"{100 * share:.2f} %"


def _level(share: float) -> str:
    """A share that somebody chose: no digit more than it has."""
    return f"{100 * share:.4g} %"


def number(name: str, value: Any) -> str:
    """A value in the units that its name asks for: rates in percent, counts with separators."""
    if value is None:
        return NOTHING
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if name.startswith(_RATES) or name in _SHARES:
        return percent(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def with_interval(name: str, figures: Mapping[str, Any]) -> str:
    """A figure and, where there is one, its interval: `2.10 % (1.20 to 3.40)`.

    None where all replicates are the same: to draw people again who made no error tells nothing of
    those who would.
    """
    text = number(name, figures.get(name))
    bounds = (figures.get("intervals") or {}).get(name)
    if bounds is None or figures.get(name) is None or bounds[0] == bounds[1]:
        return text
    low, high = (number(name, bound).removesuffix(" %") for bound in bounds)
    return f"{text} ({low} to {high})"
