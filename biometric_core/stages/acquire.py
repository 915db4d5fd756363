"""Where captures come from: a folder or zip, the Kaggle data set, the generator."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from biometric_core.config import Config
from biometric_core.errors import ConfigError, SourceError
from biometric_core.storage.files import is_remote
from biometric_core.storage.private import owner_only


@dataclass(frozen=True)
class AcquireResult:
    """A source that can be read.

    Attributes:
        path: of a folder or .zip, or the URL of one on an object store.
        kind: generator, kaggle, folder, zip or object_store.
    """

    path: str
    kind: str


@owner_only()
def acquire(config: Config, *, source: str | None = None) -> AcquireResult:
    """Bring a source to disk: generate it, download it, or find it; what is there is reused.

    Args:
        config: what `source` None stands for, and where generated and downloaded captures go.
        source: "generator", "kaggle", a path or `s3://bucket/prefix`; `config.source` when None.

    Raises:
        ConfigError: `source.kind` is folder without `source.path`, or no Kaggle credentials.
        SourceError: the path doesn't exist.
        ServiceError: Kaggle can't be reached or refuses.
    """
    wanted = source or config.source.kind
    if wanted == "generator":
        return AcquireResult(_generated(config), "generator")
    if wanted == "kaggle":
        from biometric_core.sources.kaggle import download

        return AcquireResult(download(config).path, "kaggle")
    if source is None:
        if config.source.path is None:
            raise ConfigError("source.kind is folder: set source.path to a folder or .zip")
        wanted = config.source.path
    if is_remote(wanted):
        from biometric_core.sources.reader import is_archive

        return AcquireResult(wanted, "zip" if is_archive(wanted) else "object_store")
    path = Path(wanted)
    if not path.exists():
        raise SourceError(
            f"source {path} doesn't exist: name a folder, a .zip, 'generator' or 'kaggle'"
        )
    return AcquireResult(str(path), "folder" if path.is_dir() else "zip")


def _generated(config: Config) -> str:
    from biometric_core.sources.generator.people import generate
    from biometric_core.storage.store import Store

    # A folder per setting: people of one seed must never mix with people of another.
    digest = hashlib.sha256(config.generator.model_dump_json().encode()).hexdigest()[:12]
    folder = Store.of(config).path("sources", "generator", digest)
    return generate(config, out=str(folder)).path
