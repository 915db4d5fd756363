"""Make the secrets of the container stack, once: `make secrets`.

Plain Python, so that it runs before anything is installed. A file that is there is never
overwritten: with another Fernet key or database password the data would be out of reach.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

MAKERS = {
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "jwt_secret": lambda: secrets.token_hex(64),
    "api_secret": lambda: secrets.token_hex(32),
    "postgres_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "ray_token": lambda: secrets.token_hex(32),
    "admin_password": lambda: secrets.token_urlsafe(18),
    "mlflow_password": lambda: secrets.token_urlsafe(18),
    "mlflow_secret": lambda: secrets.token_hex(32),
    "pseudonym_key": lambda: secrets.token_hex(32),
}


def make(folder: Path) -> list[str]:
    """Make what is missing.

    The folder is its owner's alone. The files in it are readable by everyone, because a container
    sees them with their owner and mode, and its user is another one.

    Returns:
        The names of the secrets that were made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = []
    for name, maker in MAKERS.items():
        if not (folder / name).exists():
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
            with os.fdopen(handle, "w") as file:
                file.write(maker())
            (folder / name).chmod(0o444)
            made.append(name)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "secrets")
    made = make(folder)
    print(f"{folder}: made {', '.join(made)}" if made else f"{folder}: all secrets are there")
