import stat

import pytest

from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.errors import ConfigError
from biometric_core.storage.store import Store


def test_the_same_name_is_the_same_pseudonym_and_never_contains_it(tmp_path):
    names = Pseudonymiser.of(Store(tmp_path))
    again = Pseudonymiser.of(Store(tmp_path))
    assert names.of_subject("a", "chingyc") == again.of_subject("a", "chingyc")
    assert "chingyc" not in names.of_subject("a", "chingyc")
    assert names.of_subject("a", "1") != names.of_subject("b", "1"), "namespaces are apart"
    assert names.of_subject("a", "1") != names.of_subject("a", "2")


def test_another_installation_has_other_pseudonyms(tmp_path):
    one, two = (Pseudonymiser.of(Store(tmp_path / name)) for name in "ab")
    assert one.of_subject("a", "1") != two.of_subject("a", "1")


def test_the_key_is_readable_by_its_owner_only(tmp_path):
    store = Store(tmp_path)
    Pseudonymiser.of(store)
    assert stat.S_IMODE(store.path("secrets", "pseudonym.key").stat().st_mode) == 0o600


def test_the_environment_gives_the_key_and_a_short_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", "0123456789abcdef")
    one, two = (Pseudonymiser.of(Store(tmp_path / name)) for name in "ab")
    assert one.of_subject("a", "1") == two.of_subject("a", "1")
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", "short")
    with pytest.raises(ConfigError, match="needs 16"):
        Pseudonymiser.of(Store(tmp_path))


def test_a_file_gives_the_key_and_one_that_is_not_there_is_told(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("0123456789abcdef\n")
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    by_file = Pseudonymiser.of(Store(tmp_path / "a"))
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", "0123456789abcdef")
    by_value = Pseudonymiser.of(Store(tmp_path / "b"))
    assert by_file.of_subject("a", "1") == by_value.of_subject("a", "1")
    monkeypatch.delenv("BIOMETRIC_PSEUDONYM_KEY")
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="missing, which can't be read"):
        Pseudonymiser.of(Store(tmp_path / "c"))
