"""The gate: a challenger replaces the champion only where it is provably better.

A switch survives being killed at any point, and of several at once one wins, on whatever machines:
`promotion/switch.py`.
"""

import hashlib
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.data.same_pixels import first_of_each_image
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.history.decisions import PROMOTED, Decision
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.promotion.switch import (
    mark,
    open_question,
    record,
    standing,
    switch_champion,
    with_sensors,
)
from biometric_core.schemas import Modality, Split
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import registry

if TYPE_CHECKING:
    from biometric_core.promotion.ruling import Ruling
    from biometric_core.recogniser import Recogniser

PREPARATIONS = "preparations"
"""Of `Decision.numbers`: the preprocessing version of each model, where one isn't that of now."""


@owner_only()
def promote(
    config: Config,
    *,
    version: str | None = None,
    trigger: str = "manual",
    drift_day: date | None = None,
    as_of: datetime | None = None,
    approved_by: str | None = None,
) -> Decision:
    """Decide whether a version becomes champion, and make it so.

    Both are measured now, on the same captures of test subjects; a question that was asked before
    has its answer on record. Of two promoters one wins, and the other's decision says so.

    Args:
        config: `gate` and `release` decide.
        version: a version number or alias; the challenger when None.
        trigger: training, drift or manual; goes on record.
        drift_day: after drift, the day from which captures come from the changed sensor; the drift
            is answered up to the last day before `as_of`.
        as_of: only captures taken before; all when None.
        approved_by: who approved it, where a person did; goes on record.

    Raises:
        ModelError: there is no such version, or its bundle is damaged.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached; the champion is untouched or the switch is pending.
    """
    found = standing(config)
    store = Store.of(config)
    challenger = registry.require(config, version or registry.challenger_version(config)).version
    sets = _test_sets(config, store, challenger, as_of)
    numbers = {
        "data_digest": _data_digest(sets),
        "approved_by": approved_by,
        **_preparations(config, {"challenger": challenger, "champion": found.champion}),
    }
    about: dict[str, Any] = {"trigger": trigger, "drift_day": drift_day, "as_of": as_of}
    question = open_question(found.champion, challenger, **about, numbers=numbers)
    return _answer(config, store, question, sets, found.history, as_of)


def _test_sets(
    config: Config, store: Store, version: str, as_of: datetime | None
) -> dict[Modality, CaptureSet]:
    """Captures of test subjects, prepared as a version needs them."""
    from biometric_core.tracking.own_preparation import prepare_for

    found = registry.require(config, version)
    own = registry.prepared_by(config, found)
    if own != preprocess_version(config):
        recogniser, _ = registry.load_recogniser(config, version)
        prepare_for(config, store, recogniser, found.run_id)
    sets = load_captures(store, config, as_of=as_of, prepared_by=own)
    return {m: found.select(found.split == Split.TEST) for m, found in sets.items()}


def _preparations(config: Config, versions: dict[str, str | None]) -> dict[str, dict[str, str]]:
    """What goes on record where a model needs captures otherwise than they are prepared now."""
    found = {
        role: registry.prepared_by(config, registry.require(config, version))
        for role, version in versions.items()
        if version is not None
    }
    return {PREPARATIONS: found} if {*found.values()} != {preprocess_version(config)} else {}


def _data_digest(sets: dict[Modality, CaptureSet]) -> str:
    digest = hashlib.sha256()
    for modality in sorted(sets):
        digest.update(f"{modality}\n".encode())
        digest.update("\n".join(sets[modality].capture_id.tolist()).encode())
    return digest.hexdigest()[:16]


def _answer(
    config: Config,
    store: Store,
    question: Decision,
    sets: dict[Modality, CaptureSet],
    history: list[Decision],
    as_of: datetime | None,
) -> Decision:
    """The decision on record where the question was asked before, else a new one."""
    question = decisions.with_id(question, config, history)
    known = decisions.on_record(question, history)
    if known is not None:
        mark(config, known)
        registry.drop_alias(config, registry.CHALLENGER, question.challenger_version)
        return replace(known, reused=True)
    if question.champion_version == question.challenger_version:
        return record(config, replace(question, reason="already champion"))
    question = with_sensors(store, question)
    return _conclude(config, question, _judge(config, store, question, sets, as_of), history)


def _models(config: Config, question: Decision) -> dict[str, "Recogniser"]:
    """Both recognisers by role; no champion before the first."""
    versions = {"challenger": question.challenger_version, "champion": question.champion_version}
    return {
        role: registry.load_recogniser(config, version)[0]
        for role, version in versions.items()
        if version is not None
    }


def _judge(
    config: Config,
    store: Store,
    question: Decision,
    sets: dict[Modality, CaptureSet],
    as_of: datetime | None,
) -> "Ruling":
    from biometric_core.evaluation.latency import latency
    from biometric_core.promotion.preparations import acquired, in_common, with_acquired
    from biometric_core.promotion.ruling import Ruling, rule

    models = _models(config, question)
    needed = {role: model.preprocess_version for role, model in models.items()}
    distinct = {m: found.select(first_of_each_image(found)) for m, found in sets.items()}
    champions = None
    if question.champion_version is not None and len({*needed.values()}) > 1:
        champions = _test_sets(config, store, question.champion_version, as_of)
        distinct, champions = in_common(distinct, champions)
    try:
        ruling = rule(
            models["challenger"],
            models.get("champion"),
            distinct,
            config,
            latency=latency(models["challenger"], store, sets),
            change=question.change,
            champions=champions,
        )
        if champions is None:
            return ruling
        trained = [name for model in models.values() for name in model.subjects]
        return with_acquired(ruling, acquired(store, needed, trained, as_of), config.gate)
    except (ModelError, ValueError) as error:  # scores that are no numbers, shapes that don't fit
        return Ruling(False, f"not measurable: {error}", {})


def _conclude(
    config: Config, question: Decision, verdict: "Ruling", history: list[Decision]
) -> Decision:
    numbers = {**verdict.numbers, **question.numbers}
    decision = replace(question, reason=verdict.reason, numbers=numbers)
    if not verdict.promote:
        return record(config, decision)
    return switch_champion(config, replace(decision, decision=PROMOTED), history)
