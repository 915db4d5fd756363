"""Who is champion, and what was decided."""

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.storage.store import Store
from biometric_core.tracking import registry


def roles(config: Config) -> tuple[str | None, ...]:
    """Versions of champion, challenger and previous."""
    found = (registry.get(config, alias) for alias in registry.ALIASES)
    return tuple(version.version if version else None for version in found)


def rows(config: Config) -> list[decisions.Decision]:
    """All decisions, oldest first."""
    return decisions.read(Store.of(config))
