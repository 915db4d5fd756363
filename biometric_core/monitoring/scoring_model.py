"""Which model looks at a day, what it knew when it was trained, and which drift it has answered."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import str_array
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.history.changes import Change
from biometric_core.history.decisions import PROMOTED, ROLLED_BACK
from biometric_core.monitoring.roles import utc64
from biometric_core.monitoring.watched import IS_WATCHED
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
    """The model that judges a day: the newest champion that was not trained on all of it.

    So a day that is judged later than usual is not judged by a model that has learnt from it.

    Raises:
        ModelError: there is no champion.
        ServiceError: MLflow can't be reached.
    """
    history = decisions.read(store)
    champion = registry.require(config, registry.CHAMPION)
    start = start_of(day)
    taken = pc.field("captured_at")
    during = (taken >= start) & (taken < start + timedelta(days=1))
    captures = store.read("captures", ["capture_id", "captured_at"], during & IS_WATCHED)
    ids = str_array(captures["capture_id"].to_pylist())
    times = captures["captured_at"].to_numpy().astype("datetime64[us]")
    newest = _as_scoring_model(config, champion, history)
    earlier = (
        one.challenger_version
        for one in reversed(history)
        if one.decision in (PROMOTED, ROLLED_BACK) and one.challenger_version != champion.version
    )
    for candidate in (newest, *_existing(config, dict.fromkeys(earlier), history)):
        if not len(ids) or not candidate.known(store, ids, times).all():
            return candidate
    return newest


def _existing(
    config: Config, versions: dict[str, None], history: list[decisions.Decision]
) -> list[ScoringModel]:
    found = []
    for name in versions:
        try:
            found.append(_as_scoring_model(config, registry.require(config, name), history))
        except ModelError:  # deleted from the registry since
            continue
    return found


def _as_scoring_model(
    config: Config, version: Version, history: list[decisions.Decision]
) -> ScoringModel:
    as_of, data_version = version.tags.get("as_of"), version.tags.get("data_version", "")
    moment = utc(datetime.fromisoformat(as_of)) if as_of else None
    drifts = [one.change for one in history if one.decision == PROMOTED and one.change]
    answered = [one for one in drifts if moment and start_of(one.day) < moment]
    return ScoringModel(
        version.version,
        moment,
        int(data_version) if data_version.isdigit() else None,
        registry.prepared_by(config, version),
        tuple(answered),
    )
