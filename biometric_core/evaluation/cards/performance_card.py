"""The performance card: the figures of an evaluation or cross-validation, with their pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from biometric_core.evaluation.cards import sections
from biometric_core.reporting.page import page, templates
from biometric_core.reporting.sections import Picture, Section
from biometric_core.reporting.words import label
from biometric_core.storage.files import atomic_write

TITLE = "Performance card"
_CAPTIONS = {
    "det": "Detection error trade-off, normal-deviate axes",
    "cmc": "Cumulative match characteristic",
    "confusion": "Confusion matrix, subjects numbered",
}
# Which section a picture belongs to, by the start of its name.
_PLACES = {
    "det": "Headline figures",
    "cmc": "Headline figures",
    "groups": "Differences between groups",
    "quality": "Quality",
    "confusion": "Closed set: which training subject is it?",
    "scores": "Scores",
}
_METHOD = (
    "A technology evaluation (ISO/IEC 19795-1): stored captures of people whom the model never "
    "saw, each pair of captures compared once. An eye or a finger is an identity, so that the "
    "other eye of the same person is a non-mated comparison; fused comparisons are between visits "
    "of persons. Identification is closed-set with one gallery image for each identity. Intervals "
    "come from drawing subjects, never comparisons, with replacement."
)


def performance_card(
    folder: Path,
    values: Mapping[str, Any],
    pictures: Iterable[Path],
    facts: Mapping[str, str | None],
) -> tuple[Path, Path]:
    """Write `performance_card.md` and, in one file with its pictures, `performance_card.html`.

    Args:
        folder: where the pictures lie and the cards go.
        values: what `evaluate` or `crossval` found; a cross-validation is told by its `mean`.
            Names that are not known here are shown all the same.
        pictures: PNG files in `folder`.
        facts: what was measured with what (model, data, code, date); None: not known.

    Returns:
        The paths of both files, Markdown first.
    """
    placed = [path.name for path in pictures]
    parts = list(_with_pictures(_sections(values, facts), placed))
    template = templates().get_template("sections.md.jinja")
    text = template.render(title=TITLE, lead=_lead(values), sections=parts)
    markdown, html = folder / "performance_card.md", folder / "performance_card.html"
    atomic_write(markdown, f"{text.strip()}\n".encode())
    atomic_write(html, page(text, TITLE, folder).encode())
    return markdown, html


def _sections(values: Mapping[str, Any], facts: Mapping[str, str | None]) -> Iterator[Section]:
    main: Mapping[str, Any] = values.get("mean") or values
    reasons = {**(main.get("reasons") or {}), **(values.get("reasons") or {})}
    yield sections.headline(main, reasons)
    yield from sections.recognition(main, reasons)
    yield sections.folds(values)
    yield Section("Scores")
    yield sections.groups(values)
    yield sections.quality(values)
    yield sections.plain("Closed set: which training subject is it?", values.get("closed_set"))
    yield sections.plain("Latency, image file to embedding", values.get("latency"))
    yield sections.acquisition(values)
    yield from sections.further(values if main is values else {**main, **values})
    yield sections.unsaid(reasons)
    method = sections.plain("", {k: v or "not known" for k, v in facts.items()})
    protocol = sections.plain("", values.get("protocol"))
    yield Section("How it was measured", [_METHOD], [*method.tables, *protocol.tables])


def _with_pictures(parts: Iterable[Section], files: Sequence[str]) -> Iterator[Section]:
    homes: dict[str, list[Picture]] = {}
    for file in files:
        stem = Path(file).stem
        kind, _, name = stem.partition("_")
        caption = _CAPTIONS.get(stem) or f"{label(kind).capitalize()}: {label(name)}"
        homes.setdefault(_PLACES.get(kind, "Pictures"), []).append(Picture(caption, file))
    for part in parts:
        part.pictures.extend(homes.pop(part.title, []))
        if part:
            yield part
    left = [picture for pictures in homes.values() for picture in pictures]
    if left:
        yield Section("Pictures", pictures=left)


def _lead(values: Mapping[str, Any]) -> str:
    main = values.get("mean") or values
    counts = [found.get("n_subjects") or 0 for found in sections.measured(main).values()]
    text = f"Biometric recognition of {max(counts, default=0)} people the model has never seen. "
    text += "In brackets: confidence intervals."
    protocol = values.get("protocol") or {}
    if protocol.get("chimeric"):
        text += " **Chimeric**: fused figures are of eyes and fingers of different people, paired."
    if protocol.get("paint_out"):
        text += " **A check, not a result**: the iris was painted out of every eye."
    release = values.get("release")
    if not release:
        return text
    verdict = "All release thresholds hold." if release["ok"] else "Release thresholds fail."
    return "\n\n".join([text, f"**{verdict}**", "\n".join(f"- {w}" for w in release["reasons"])])
