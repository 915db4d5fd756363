"""Which model looks at a day, what it knew when it was trained, and which drift it has answered."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.history.changes import Change
from biometric_core.history.decisions import PROMOTED
from biometric_core.monitoring.roles import utc64
from biometric_core.schemas import start_of, utc
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from biometric_core.tracking.registry import Version


@dataclass(frozen=True)
class ScoringModel:
    """A model version and the captures it knew.

    Attributes:
        version: its number in the registry.
        as_of: captures taken before this time took part in its training; None where its tags don't
            say.
        data_version: Delta version of the feature table it was trained from; None likewise.
        prepared_by: the preprocessing version that it was trained on and judges by.
        answered: drifts that began before that time and were answered by a promotion.
    """

    version: str
    as_of: datetime | None
    data_version: int | None
    prepared_by: str
    answered: tuple[Change, ...] = ()

    def known(
        self,
        store: Store,
        capture_id: npt.NDArray[np.str_],
        captured_at: npt.NDArray[np.datetime64],
    ) -> npt.NDArray[np.bool_]:
        """Which captures were there when the model was trained, bool (N,).

        Failures to acquire are rows of the feature table as well.
        """
        known = np.ones(len(capture_id), dtype=np.bool_)
        if self.as_of:
            known &= captured_at < utc64(self.as_of)
        if self.data_version is not None and known.any():
            features = store.read("features", ["capture_id"], version=self.data_version)
            known &= np.isin(capture_id, features["capture_id"].to_pylist())
        return known


def scoring_model(config: Config, store: Store, day: date) -> ScoringModel:
    """The model that judges a day: the champion that served when the day began.

    That is the newest one that had become champion by then and was trained on captures from before
    the day (`as_of`). Days from before the first promotion, which are made up for or replayed, were
    served by nobody: they are judged by the newest champion that was trained on captures from
    before them, and where there is none by the first champion.

    Raises:
        ModelError: there is no champion.
        ServiceError: MLflow can't be reached.
    """
    history = decisions.read(store)
    start = start_of(day)
    reigns = _reigns(config, history)
    able = [one for one in reigns if (_end(one[1]) or start) <= start]
    served = [one for one in able if one[0] is not None and one[0] <= start]
    return _as_scoring_model(config, (served or able or reigns[:1])[-1][1], history)


def _reigns(
    config: Config, history: list[decisions.Decision]
) -> list[tuple[datetime | None, Version]]:
    """Each champion and since when it was it (None: not known), oldest first; less the deleted.

    One that was set by hand counts from the decision before on: later than that, nobody knows when.
    """
    found: list[tuple[datetime | None, str]] = []

    def by_hand(version: str | None) -> None:
        if version is not None and (not found or found[-1][1] != version):
            found.append((found[-1][0] if found else None, version))

    for one in decisions.changes(history):
        by_hand(one.champion_version)
        found.append((datetime.fromisoformat(one.decided_at), one.challenger_version))
    by_hand(registry.require(config, registry.CHAMPION).version)
    there = {one.version: one for one in registry.versions(config)}
    return [(since, there[version]) for since, version in found if version in there]


def _end(version: Version) -> datetime | None:
    """Captures taken before this time took part in its training; None where it doesn't say."""
    as_of = version.tags.get("as_of")
    return utc(datetime.fromisoformat(as_of)) if as_of else None


def _as_scoring_model(
    config: Config, version: Version, history: list[decisions.Decision]
) -> ScoringModel:
    moment, data_version = _end(version), version.tags.get("data_version", "")
    drifts = [one.change for one in history if one.decision == PROMOTED and one.change]
    answered = [one for one in drifts if moment and start_of(one.day) < moment]
    return ScoringModel(
        version.version,
        moment,
        int(data_version) if data_version.isdigit() else None,
        registry.prepared_by(config, version),
        tuple(answered),
    )
