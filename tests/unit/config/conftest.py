import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("BIOMETRIC")]:
        monkeypatch.delenv(name)
