"""The model registry: versions, the aliases that give them a role, and the switch of champions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.tracking import bundle, runs
from biometric_core.tracking.client import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from biometric_core.recogniser import Recogniser


CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)
DRIFT_DAY = "drift_day"
"""Tag of a version that became champion as the answer to a drift: the drift's day, ISO 8601."""


@dataclass(frozen=True)
class Version:
    """A version in the registry.

    Attributes:
        version: its number, as text.
        run_id: the training run it came from.
        created_at: UTC, ISO 8601.
        tags: what was written on it: error rates, data version, the gate's decision.
    """

    version: str
    run_id: str
    created_at: str
    tags: dict[str, str] = field(default_factory=dict)


def version_of_run(config: Config, run_id: str) -> Version | None:
    """The first version that was made of a training run; None where there is none."""
    with mlflow_client(config, "look for the run's model version") as client:
        text = f"name = '{config.mlflow.model_name}' and run_id = '{run_id}'"
        found = [_version(one) for one in client.search_model_versions(text)]
        return min(found, key=lambda one: int(one.version), default=None)


def create_version(config: Config, run_id: str, tags: Mapping[str, str]) -> Version:
    """Make a version of the bundle that a run holds, whatever versions there are."""
    with mlflow_client(config, "register the model") as client:
        _ensure_model(config, client)
        source = f"{client.get_run(run_id).info.artifact_uri}/{bundle.FOLDER}"
        made = client.create_model_version(
            config.mlflow.model_name, source, run_id=run_id, tags=dict(tags)
        )
        return _version(made)


def delete_version(config: Config, version: str) -> None:
    """Remove a version; what it was made of stays with its run."""
    with mlflow_client(config, "delete the model version") as client:
        client.delete_model_version(config.mlflow.model_name, version)


def _ensure_model(config: Config, client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(config.mlflow.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(found: "ModelVersion") -> Version:
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return Version(
        str(found.version), found.run_id or "", created.isoformat(), dict(found.tags or {})
    )


def get(config: Config, alias_or_version: str) -> Version | None:
    """The version an alias or number names, None where there is none."""
    name = config.mlflow.model_name
    try:
        with mlflow_client(config, f"find model {alias_or_version}") as client:
            if alias_or_version.isdigit():
                return _version(client.get_model_version(name, alias_or_version))
            # Unlike the lookup by alias, this tells "no such alias" from every other refusal.
            number = client.get_registered_model(name).aliases.get(alias_or_version)
            return _version(client.get_model_version(name, number)) if number else None
    except ModelError:
        return None


def versions(config: Config) -> list[Version]:
    """All versions in the registry."""
    found: list[Version] = []
    token: str | None = None
    with mlflow_client(config, "list the model versions") as client:
        while True:
            text = f"name = '{config.mlflow.model_name}'"
            page = client.search_model_versions(text, page_token=token)
            found += [_version(one) for one in page]
            token = page.token
            if not token:
                return found


def champion_version(config: Config) -> str | None:
    """The champion's version number, None before the first promotion."""
    found = get(config, CHAMPION)
    return found.version if found else None


def challenger_version(config: Config) -> str:
    """The version that waits for the gate's decision.

    Raises:
        ModelError: there is none.
    """
    found = get(config, CHALLENGER)
    if found is None:
        raise ModelError(
            f"no challenger in the registry ({config.mlflow.model_name}): train and register a "
            "model, or name a version"
        )
    return found.version


def require(config: Config, alias_or_version: str) -> Version:
    """The version an alias or number names.

    Raises:
        ModelError: there is none; says what to do.
    """
    found = get(config, alias_or_version)
    if found is None:
        known = ", ".join(ALIASES)
        raise ModelError(
            f"no model {alias_or_version!r} in the registry ({config.mlflow.model_name}): "
            f"give a version number or one of {known}; the training pipeline makes the first"
        )
    return found


def recogniser_folder(config: Config, alias_or_version: str) -> tuple[Path, str]:
    """A local folder with the recogniser of a registered bundle, and its version number.

    Raises:
        ModelError: there is no such version, or its bundle is missing.
    """
    found = require(config, alias_or_version)
    name = f"{bundle.FOLDER}/artifacts/{runs.RECOGNISER}"
    return runs.download(config, found.run_id, name), found.version


def load_recogniser(config: Config, alias_or_version: str) -> tuple["Recogniser", str]:
    """Load the recogniser out of a registered bundle.

    Returns:
        The recogniser and its version number.

    Raises:
        ModelError: there is no such version, or its bundle is missing or damaged.
    """
    from biometric_core.recogniser import Recogniser

    folder, version = recogniser_folder(config, alias_or_version)
    return Recogniser.load(folder), version


def prepared_by(config: Config, found: Version) -> str:
    """The preprocessing version that a registered model needs.

    Raises:
        ModelError: its tags don't say and its bundle is missing.
    """
    told = found.tags.get("preprocess_version")
    return told or load_recogniser(config, found.version)[0].preprocess_version


def set_alias(config: Config, alias: str, version: str) -> None:
    """Point an alias at a version."""
    with mlflow_client(config, f"set the alias {alias}") as client:
        client.set_registered_model_alias(config.mlflow.model_name, alias, version)


def drop_alias(config: Config, alias: str, version: str) -> None:
    """Remove an alias if it points at that version."""
    found = get(config, alias)
    if found is not None and found.version == version:
        with mlflow_client(config, f"remove the alias {alias}") as client:
            client.delete_registered_model_alias(config.mlflow.model_name, alias)


def tag(config: Config, version: str, tags: Mapping[str, str]) -> None:
    """Write tags on a version."""
    with mlflow_client(config, "tag the model version") as client:
        for key, value in tags.items():
            client.set_model_version_tag(config.mlflow.model_name, version, key, value)


def untag(config: Config, version: str, key: str) -> None:
    """Remove a tag of a version."""
    with mlflow_client(config, "untag the model version") as client:
        client.delete_model_version_tag(config.mlflow.model_name, version, key)


def set_champion(config: Config, version: str, expected: str | None) -> bool:
    """Make a version the champion and the former one `previous`; safe to repeat where cut off.

    Who may do so is decided before, in the table of decisions: MLflow's aliases know no condition.
    The champion's alias goes first: killed in between, `previous` still names a champion of before.

    Args:
        config: names registry and model.
        version: the new champion.
        expected: version number of the former champion; None where there was none.

    Returns:
        False where the champion is neither of them; nothing has been changed then.
    """
    if champion_version(config) not in (expected, version):
        return False
    set_alias(config, CHAMPION, version)
    if expected is not None:
        set_alias(config, PREVIOUS, expected)
    return True
