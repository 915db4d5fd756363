"""Back to the previous champion."""

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.history.decisions import ROLLED_BACK, Decision
from biometric_core.promotion.switch import standing, switch_champion
from biometric_core.storage.private import owner_only
from biometric_core.tracking import registry


@owner_only()
def rollback(config: Config, *, reason: str) -> Decision:
    """Make the previous champion champion again; the present one becomes `previous`.

    Args:
        config: names registry and store.
        reason: why; goes on record.

    Raises:
        ModelError: there is no previous champion.
        ServiceError: MLflow can't be reached.
    """
    found = standing(config)
    if found.finished is not None and found.finished.decision == ROLLED_BACK:
        return found.finished
    previous = registry.get(config, registry.PREVIOUS)
    if found.champion is None or previous is None or previous.version == found.champion:
        raise ModelError(
            f"no previous champion of {config.mlflow.model_name} in the registry: "
            "nothing to go back to"
        )
    decision = Decision(
        decision=ROLLED_BACK,
        reason=reason,
        champion_version=found.champion,
        challenger_version=previous.version,
    )
    return switch_champion(
        config, decisions.with_id(decision, config, found.history), found.history
    )
