"""Where a model comes from: the code, the packages around it, the configuration."""

import hashlib
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import yaml

import biometric_core
from biometric_core.config import UNRECORDED, Config

_USER_AND_PASSWORD = re.compile(r"//[^/\s]+@")

_SECRETS = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&\s'\")]*", re.IGNORECASE)

# What the bundle's code imports. Pinned to what is installed: with a given list MLflow doesn't load
# the model in a second process to find out, which takes half a minute.
REQUIREMENTS = (
    "mlflow",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "simplejpeg",
    "threadpoolctl",
    "pandas",
    "pyarrow",
    "safetensors",
    "nbis-py",
    "opencv-python-headless",
    "pillow",
    "wsq",
    "deltalake",
    "filelock",
    "pydantic",
    "pyyaml",
    "rich",
)

_PACKAGE = Path(biometric_core.__file__).parent
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_GIT_SECONDS = 10


def code_digest() -> str:
    """SHA-256 (first 16 hex digits) of the package's source and the weights training starts from.

    Another code is another model.
    """
    digest = hashlib.sha256(biometric_core.__version__.encode())
    for path in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.glob("weights/*")]):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def git_commit() -> str | None:
    """The commit of the checkout this package lies in, with `-dirty` where it was changed since.

    None outside a checkout, also where the package is installed inside somebody else's.
    """
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", ".")
    return f"{commit}-dirty" if commit and changed else commit


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(_PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, str]:
    """Python, kind of machine, and the installed version of every direct dependency."""
    names = {name: _version(name) for name in sorted({*_declared(), *REQUIREMENTS})}
    packages = {name: found for name, found in names.items() if found}
    machine = f"{platform.system()} {platform.machine()}"
    own = biometric_core.__version__
    return {
        "python": platform.python_version(),
        "machine": machine,
        "biometric-core": own,
        **packages,
    }


def _declared() -> list[str]:
    try:
        declared = requires("biometric-core") or []
    except PackageNotFoundError:  # a checkout on the path, not installed
        return []
    found = [_NAME.match(text) for text in declared if "extra ==" not in text]
    return [match[0] for match in found if match]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def resolved_yaml(config: Config) -> str:
    """The configuration as YAML: addresses without passwords, and nobody's e-mail address."""
    values = config.model_dump(mode="json", exclude=UNRECORDED)
    values["mlflow"]["tracking_uri"] = without_password(config.mlflow.tracking_uri)
    return yaml.safe_dump(values, sort_keys=False)


def without_secrets(text: str) -> str:
    """A message fit for a log: without the users, passwords and tokens of addresses in it."""
    return _SECRETS.sub(r"\1***", _USER_AND_PASSWORD.sub("//", text))


def without_password(uri: str) -> str:
    """The URI fit for a log or a run: user and password of `scheme://user:password@host` cut.

    So are passwords, keys and tokens in its query.
    """
    scheme, separator, rest = _SECRETS.sub(r"\1***", uri).partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
