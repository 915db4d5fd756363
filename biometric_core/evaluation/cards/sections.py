"""The parts of a performance card: tables and notes out of the values of an evaluation."""

from collections.abc import Iterable, Mapping
from typing import Any

from biometric_core.reporting.sections import Section, Table
from biometric_core.reporting.words import NOTHING, label, number, reason_label, with_interval
from biometric_core.schemas import Modality

Values = Mapping[str, Any]
HEADLINE = ("eer", "fnmr_at_fmr_0.01", "fnmr_at_fmr_0.001", "rank1")
_FUSED = "fused"
_MODALITIES = tuple(modality.value for modality in Modality)
# These have a section of their own.
_PARTS = ("closed_set", "latency", "fta", "groups", "quality", "reasons", "release")


def measured(values: Values) -> dict[str, Values]:
    """What has error rates, by name (`iris`, `fused`, ...), in the order of the values."""
    every = {**values, **(values.get("combinations") or {})}
    return {
        name: found
        for name, found in every.items()
        if name not in _PARTS and isinstance(found, Mapping) and "eer" in found
    }


def headline(values: Values, reasons: Mapping[str, str]) -> Section:
    """Modalities and their fusion at a glance; what could not be measured says why."""
    names = [name for name in (*_MODALITIES, _FUSED) if name in values]
    rows = []
    for name in names:
        if values[name] is None:
            why = f"not measured: {reasons.get(name, 'no reason is known')}"
            rows.append([label(name), why, *[NOTHING] * (len(HEADLINE) - 1)])
        else:
            rows.append([label(name), *(_cell(name, f, values[name], reasons) for f in HEADLINE)])
    table = Table(["", *map(label, HEADLINE)], rows)
    return Section("Headline figures", tables=[table] if rows else [])


def _cell(name: str, figure: str, figures: Values, reasons: Mapping[str, str]) -> str:
    why = reasons.get(f"{name}.{figure}")
    if figures.get(figure) is None and why:
        return f"{NOTHING} ({why})"
    return with_interval(figure, figures)


def recognition(values: Values, reasons: Mapping[str, str]) -> list[Section]:
    """All figures of each modality, fusion and encoder, and of names this code doesn't know."""
    found = measured(values)
    encoders = [n for n in found if n.startswith(tuple(f"{m}_" for m in _MODALITIES))]
    fusions = [n for n in found if n.startswith(_FUSED)]
    parts = {
        "Each modality": [n for n in found if n in _MODALITIES],
        "Fusion of modalities": fusions,
        "Encoders": encoders,
    }
    known = {name for names in parts.values() for name in names}
    parts["Others"] = [name for name in found if name not in known]
    return [
        Section(title, tables=[_figures({n: found[n] for n in names}, reasons)])
        for title, names in parts.items()
        if names
    ]


def _figures(found: Mapping[str, Values], reasons: Mapping[str, str]) -> Table:
    """Figures as rows, names as columns."""
    figures = dict.fromkeys(
        key for values in found.values() for key, value in values.items() if _is_figure(value)
    )
    rows = [
        [label(figure), *(_cell(name, figure, values, reasons) for name, values in found.items())]
        for figure in figures
    ]
    return Table(["", *map(label, found)], rows)


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def folds(values: Values) -> Section:
    """EER of each fold of a cross-validation."""
    found = values.get("folds") or []
    names = list(dict.fromkeys(name for fold in found for name in measured(fold)))
    rows = [
        [str(place), *(with_interval("eer", measured(fold).get(name) or {}) for name in names)]
        for place, fold in enumerate(found, start=1)
    ]
    return Section("EER by fold", tables=[Table(["fold", *map(label, names)], rows)] * bool(rows))


def groups(values: Values) -> Section:
    """Rates by eye or finger, and by sex; the largest difference of each."""
    tables = []
    for name, kinds in (values.get("groups") or {}).items():
        for kind, found in kinds.items():
            if found:
                columns = [f"{label(name)}, by {label(kind)}", *map(label, ("eer", "fnmr", "fmr"))]
                rows = [
                    [
                        label(group),
                        *(with_interval(rate, one) for rate in ("eer", "fnmr", "fmr")),
                        *(number("n", one[n]) for n in ("n_subjects", "n_mated", "n_non_mated")),
                    ]
                    for group, one in found.items()
                ]
                rows.append(_differences(found))
                tables.append(Table([*columns, "subjects", "mated", "non-mated"], rows))
    notes = [
        "Differential performance (ISO/IEC 19795-10): FNMR and FMR at one threshold for all, where "
        "the FMR of all comparisons is 1 %; non-mated pairs have both sides in the group. Groups "
        "whose intervals overlap can't be told apart by these data. Sex is what the source states."
    ]
    return Section("Differences between groups", notes if tables else [], tables)


def _differences(found: Mapping[str, Values]) -> list[str]:
    cells = []
    for rate in ("eer", "fnmr", "fmr"):
        values = [one[rate] for one in found.values() if one[rate] is not None]
        cells.append(number(rate, max(values) - min(values)) if values else NOTHING)
    return ["largest difference", *cells, "", "", ""]


def quality(values: Values) -> Section:
    """FNMR when the comparisons of lowest quality are discarded."""
    found = {name: one for name, one in (values.get("quality") or {}).items() if one}
    shares = dict.fromkeys(k for one in found.values() for k in one if "discard" in k)
    rows = [
        [label(name), *(number(share, one.get(share)) for share in shares)]
        for name, one in found.items()
    ]
    note = (
        "FNMR at the threshold of FMR 1 % of the mated comparisons left when those of lowest "
        "quality are discarded (ISO/IEC 29794-1, error versus discard)."
    )
    table = Table(["", *map(label, shares)], rows)
    return Section("Quality", [note] if rows else [], [table] if rows else [])


def acquisition(values: Values) -> Section:
    """Failures to acquire by reason."""
    rows = [
        [
            label(name),
            number("captures", one["captures"]),
            f"{one['failed']:,} ({number('rate', one['rate'])})",
            ", ".join(f"{label(why)} {count}" for why, count in one["reasons"].items()) or NOTHING,
        ]
        for name, one in (values.get("fta") or {}).items()
        if one
    ]
    note = (
        "FMR and FNMR are of comparisons: a capture that failed to acquire takes no part in them. "
        "With a failure-to-acquire rate FTA, FRR = FTA + FNMR x (1 - FTA), FAR = FMR x (1 - FTA)."
    )
    table = Table(["", "captures", "failed (FTA)", "reasons"], rows)
    return Section("Failure to acquire", [note] if rows else [], [table] if rows else [])


def plain(title: str, values: Values | None) -> Section:
    """A mapping of single values as a table: closed set, latency, protocol."""
    rows = []
    for name, value in (values or {}).items():
        if isinstance(value, Mapping):
            rows.append([label(name), _listed(value) or NOTHING])
        elif _is_figure(value):
            rows.append([label(name), number(name, value)])
        else:
            parts = [_listed(one) if isinstance(one, Mapping) else f"{one}" for one in value]
            rows.append([label(name), "; ".join(parts) or NOTHING])
    return Section(title, tables=[Table(["", "value"], rows)] if rows else [])


def _listed(values: Values) -> str:
    return ", ".join(
        f"{label(key)}: {_listed(one)}"
        if isinstance(one, Mapping)
        else f"{label(key)} {number(key, one)}"
        for key, one in values.items()
    )


def unsaid(reasons: Mapping[str, str]) -> Section:
    """What could not be measured, and why."""
    notes = [f"- {reason_label(name)}: {why}" for name, why in reasons.items()]
    return Section("What can't be said, and why", ["\n".join(notes)] if notes else [])


def further(values: Values) -> Iterable[Section]:
    """Values that no other section shows, so that none is lost."""
    shown = {*_PARTS, *measured(values), "combinations", "folds", "mean", "protocol", "run_id"}
    rest = {n: v for n, v in values.items() if n not in shown and v is not None}
    yield plain("Further figures", {n: v for n, v in rest.items() if _is_figure(v)})
    for name, value in rest.items():
        if isinstance(value, Mapping):
            yield plain(f"Further figures: {label(name)}", value)
