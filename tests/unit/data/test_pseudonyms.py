import stat
from pathlib import Path

import pytest

from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.errors import ConfigError
from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.support.earlier_store import taken_in_before
from tests.support.small_sources import image, write_folder
from tests.support.tiny_store import changed


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


KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
PEOPLE = {f"iris/00{n}_L_01.bmp": image(n) for n in range(4)}
LATER = {f"iris/00{n}_R_01.bmp": image(10 + n) for n in range(4)}
STRANGERS = {f"iris/10{n}_L_01.bmp": image(20 + n) for n in range(4)}


@pytest.fixture
def people(tmp_path):
    return write_folder(tmp_path / "people", PEOPLE)


def test_the_store_tells_its_key_and_does_not_hold_it(config, people, monkeypatch):
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", KEY)
    ingest(config, source=str(people))
    files = [path for path in Path(config.storage.root).rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    told = Path(config.storage.root, "secrets/pseudonym.fingerprint")
    assert len(told.read_text()) == 32
    assert stat.S_IMODE(told.stat().st_mode) == 0o600


@pytest.mark.parametrize("made_with", [None, KEY])
@pytest.mark.parametrize("given", [None, OTHER])
def test_another_key_or_none_is_one_clear_line_and_nothing_is_written(
    config, people, tmp_path, monkeypatch, made_with, given
):
    def use(key):
        monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", key or "")

    use(made_with)
    ingest(config, source=str(people))
    store = Store.of(config)
    before = sorted(Path(store.root).rglob("*"))
    use(given)
    if made_with == given:
        assert ingest(config, source=str(people)).known == 4
        return
    with pytest.raises(ConfigError, match="have their pseudonyms by") as caught:
        ingest(config, source=str(write_folder(tmp_path / "later", LATER)))
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert sorted(Path(store.root).rglob("*")) == before, (
        "no key is made beside the one that is lost"
    )
    use(made_with)
    assert ingest(config, source=str(tmp_path / "later")).subjects == 4


def test_an_empty_store_takes_any_key(config, people, monkeypatch):
    for key in (OTHER, KEY):
        monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", key)
        Pseudonymiser.of(Store.of(config))
    assert ingest(config, source=str(people)).added == 4


def test_a_store_from_before_takes_the_key_by_which_somebody_is_found_again(
    config, people, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", KEY)
    store = taken_in_before(config, people)
    told = store.path("secrets", "pseudonym.fingerprint")
    ingest(config, source=str(write_folder(tmp_path / "strangers", STRANGERS)))
    assert "can't be told: nobody of the source is in it" in caplog.text
    assert not told.exists()
    assert ingest(config, source=str(write_folder(tmp_path / "later", LATER))).subjects == 8
    assert told.exists()
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", OTHER)
    with pytest.raises(ConfigError, match="another key than the one given"):
        ingest(config, source=str(people))


def test_a_store_from_before_refuses_a_key_by_which_its_images_are_other_peoples(
    config, people, monkeypatch
):
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", KEY)
    store = taken_in_before(config, people)
    write_folder(people, LATER)
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", OTHER)
    with pytest.raises(ConfigError, match="another key than the one given"):
        ingest(config, source=str(people))
    assert (store.read("captures").num_rows, store.read("quarantine").num_rows) == (4, 0)
    monkeypatch.delenv("BIOMETRIC_PSEUDONYM_KEY")
    with pytest.raises(ConfigError, match="by a key that isn't given"):
        ingest(config, source=str(people))


def test_a_store_on_an_object_store_keeps_to_its_key(config, bucket, people, monkeypatch):
    remote = changed(config, "storage", root=f"{bucket}/data")
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", KEY)
    ingest(remote, source=str(people))
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", OTHER)
    with pytest.raises(ConfigError, match="another key than the one given"):
        ingest(remote, source=str(people))
