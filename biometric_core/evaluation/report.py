"""Pictures and cards of an evaluation, and the figures that only they show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import biometric_core
from biometric_core import provenance
from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet
from biometric_core.evaluation import plots
from biometric_core.evaluation.cards import performance_card
from biometric_core.evaluation.differentials import Traits, differentials, traits_of
from biometric_core.evaluation.quality_error import QualityError, quality_error
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.matching.comparisons import Comparisons
from biometric_core.recogniser import FUSED
from biometric_core.schemas import IntArray, Modality


@dataclass(frozen=True)
class Evidence:
    """What was measured on.

    `traits` are of the modalities and their fusion: what groups and quality are looked at for.

    Attributes:
        comparisons: by name (`iris`, `fused`, ...); between captures or visits of `sets`. Those of
            several folds may be `comparisons.pooled`: items are found by their ids.
        ranks: likewise, of each probe's own identity in identification.
        sets: all captures that were compared.
        confusion: of closed-set classification, int64 (C, C); None without any.
    """

    comparisons: Mapping[str, Comparisons]
    ranks: Mapping[str, IntArray]
    sets: Mapping[Modality, CaptureSet]
    confusion: IntArray | None = None
    traits: Mapping[str, Traits] = field(init=False)

    def __post_init__(self) -> None:
        # Single encoders and other fusions show the same people again: figures are enough there.
        wanted = [name for name in (*Modality, FUSED) if name in self.comparisons]
        found = {str(name): traits_of(self.comparisons[name], self.sets) for name in wanted}
        object.__setattr__(self, "traits", found)


@dataclass(frozen=True)
class Written:
    """Paths of what was written, and the values the cards show."""

    values: dict[str, Any]
    pictures: list[Path]
    cards: list[Path]


def write_report(
    folder: Path,
    values: Mapping[str, Any],
    evidence: Evidence,
    config: Config,
    facts: Mapping[str, str | None] | None = None,
) -> Written:
    """Draw an evaluation or cross-validation and write its performance card.

    Args:
        folder: where pictures and cards go.
        values: figures of `evaluate` or `crossval`; `groups` and `quality` are added.
        evidence: what they were measured on.
        config: `evaluation` decides on the bootstrap, and whether failure cases are drawn.
        facts: shown on the card beside those of `facts_of`; they win.

    Returns:
        The values with `groups`, `quality` and their `reasons`, and the files.
    """
    complete = {**values, **details(evidence, config)}
    complete["reasons"] = {**(values.get("reasons") or {}), **complete["reasons"]}
    for picture in folder.glob("*.png"):
        picture.unlink()  # of an earlier evaluation, maybe with failure cases
    pictures = _draw(folder, complete, evidence)
    cards = performance_card(folder, complete, pictures, {**facts_of(config), **(facts or {})})
    if config.evaluation.failure_images:
        # Beside the card, not in it: a card is to be passed on, images of people are not.
        pictures += _draw_failures(folder, evidence)
    return Written(complete, pictures, list(cards))


def facts_of(config: Config) -> dict[str, str | None]:
    """Date, code, configuration and how intervals are made."""
    settings = config.evaluation
    intervals = f"{100 * settings.confidence:g} %, {settings.bootstrap} draws of subjects"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "biometric-core": biometric_core.__version__,
        "git commit": provenance.git_commit(),
        "configuration digest": config.digest(),
        "preprocessing version": preprocess_version(config),
        "intervals": intervals,
    }


def details(evidence: Evidence, config: Config) -> dict[str, Any]:
    """Differences between groups and error by quality, JSON-able.

    Returns:
        `groups` (by name and kind, see `differentials.differentials`), `quality` (by name, see
        `QualityError.record`), each None where it can't be said; and `reasons` for those, by
        `groups.<name>.<kind>` and `quality.<name>`.
    """
    groups: dict[str, dict[str, Any]] = {}
    quality: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name in evidence.traits:
        comparisons, traits = evidence.comparisons[name], evidence.traits[name]
        found = differentials(comparisons, traits, config.evaluation)
        groups[name] = {kind: one.groups for kind, one in found.items()}
        reasons |= {f"groups.{name}.{k}": one.reason for k, one in found.items() if one.reason}
        if traits.modality is not None:
            told = quality_error(comparisons, traits.quality)
            quality[name] = told.record() if isinstance(told, QualityError) else None
            if isinstance(told, str):
                reasons[f"quality.{name}"] = told
    return {"groups": groups, "quality": quality, "reasons": reasons}


def _draw(folder: Path, values: Mapping[str, Any], evidence: Evidence) -> list[Path]:
    drawn: list[Path | None] = [
        plots.det(evidence.comparisons, folder / "det.png"),
        plots.cumulative_match(evidence.ranks, folder / "cmc.png"),
    ]
    for name, comparisons in evidence.comparisons.items():
        drawn.append(plots.score_distributions(name, comparisons, folder / f"scores_{name}.png"))
    for name, traits in evidence.traits.items():
        drawn.append(_draw_quality(folder, name, evidence.comparisons[name], traits))
        for kind, groups in values["groups"][name].items():
            path = folder / f"groups_{name}_{kind}.png"
            drawn.append(plots.group_rates(name, groups or {}, path))
    if evidence.confusion is not None:
        drawn.append(plots.confusion(evidence.confusion, folder / "confusion.png"))
    return _existing(drawn)


def _draw_quality(folder: Path, name: str, comparisons: Comparisons, traits: Traits) -> Path | None:
    if traits.modality is None:
        return None
    found = quality_error(comparisons, traits.quality)
    if isinstance(found, str):
        return None
    path = folder / f"quality_{name}.png"
    return plots.quality_against_error(name, found, comparisons, traits.quality, path)


def _draw_failures(folder: Path, evidence: Evidence) -> list[Path]:
    return _existing(
        plots.failure_cases(
            modality.value,
            evidence.comparisons[modality.value],
            captures,
            evidence.traits[modality.value],
            folder / f"failures_{modality}.png",
        )
        for modality, captures in evidence.sets.items()
        if modality.value in evidence.comparisons
    )


def _existing(paths: Iterable[Path | None]) -> list[Path]:
    return [path for path in paths if path is not None]
