"""What must never move the champion, and what going back to the one before restores."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.history.rejections import rejected
from biometric_core.monitoring.loading import load_groups
from biometric_core.monitoring.scoring_model import scoring_model
from biometric_core.promotion.ruling import Ruling
from biometric_core.stages import promote
from biometric_core.stages.monitor import monitor
from biometric_core.stages.register import register
from biometric_core.stages.rollback import rollback
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from tests.containers.inside import roles, weights
from tests.faults.worlds import configured, decided, made_champion, people
from tests.support.tiny_store import HISTORY
from tests.support.untrained import register_untrained

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def reigning(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A champion that tells people apart."""
    config = configured(tmp_path_factory.mktemp("world"))
    people(config)
    made_champion(config, good=True)
    return config


@pytest.fixture
def config(reigning: Config) -> Iterator[Config]:
    """Whatever a test tries, the champion is what it was."""
    before, model = roles(reigning)["champion"], weights(reigning, "champion")
    yield reigning
    assert roles(reigning)["champion"] == before
    assert "previous" not in roles(reigning)
    assert weights(reigning, "champion") == model


@pytest.mark.parametrize(
    "spoil",
    ["branches.iris.project.weight", "branches.fingerprint.features.0.1.running_mean"],
)
def test_a_model_of_numbers_that_are_none_is_never_promoted(config: Config, spoil: str):
    version = register_untrained(config, good=True, seed=3, spoil=spoil)
    with pytest.raises(ModelError, match="not finite"):
        promote.promote(config, version=version)
    assert [one for one in decided(config) if one[2] == version] == []


def test_a_bundle_that_lost_its_files_is_never_promoted(config: Config):
    version = register_untrained(config, good=True, seed=4)
    folder, _ = registry.recogniser_folder(config, version)
    (folder / "recogniser.json").unlink()
    with pytest.raises(ModelError, match="recogniser"):
        promote.promote(config, version=version)


def test_figures_from_the_past_prove_nothing_now(config: Config):
    version = register_untrained(config, good=False, seed=5)
    perfect = {"iris_eer": "0", "fingerprint_eer": "0", "fused_eer": "0", "latency_p50_ms": "0"}
    registry.tag(config, version, {**perfect, "gate.decision": "promoted"})
    found = registry.require(config, version)
    runs.Run(config, found.run_id).log_metrics(dict.fromkeys(perfect, 0.0))
    made = promote.promote(config, version=version)
    assert made.decision == "rejected"
    assert made.numbers["challenger"]["fingerprint"]["eer"] > 0.1
    assert registry.require(config, version).tags["gate.decision"] == "rejected"


def test_going_back_restores_the_bundle_and_what_days_are_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = configured(tmp_path)
    people(config)
    first = champion_of(config, as_of=1)
    assert watched(config, day=3, impression=5) == first
    bundle, reference = weights(config, first), reference_of(config, first)
    assert len(reference)
    # Among so few people nothing is proven; all but the proof is real.
    monkeypatch.setattr(promote, "_judge", lambda *_: Ruling(True, "better", {}))
    second = champion_of(config, as_of=4)
    assert watched(config, day=5, impression=6) == second
    rollback(config, reason="complaints")
    assert roles(config) == {"champion": first, "previous": second}
    assert weights(config, "champion") == bundle
    assert watched(config, day=7, impression=7) == first
    assert reference_of(config, first).equals(reference)
    store, day = Store.of(config), at(7).date()
    groups = load_groups(store, config, day, scoring_model(config, store, day))
    scores = sorted(score for group in groups for score in group.reference.probes.genuine)
    accepted = reference.filter(pa.array(~rejected(reference)))
    assert scores == sorted(accepted["genuine_score"].to_pylist())
    assert sum(len(group.reference.claims) for group in groups) == len(reference)


def at(day: int) -> datetime:
    return HISTORY + timedelta(days=day)


def champion_of(config: Config, as_of: int) -> str:
    run = train(config, as_of=at(as_of))
    version = register(config, run_id=run.run_id).version
    assert promote.promote(config, version=version, trigger="training").decision == "promoted"
    return version


def watched(config: Config, day: int, impression: int) -> str:
    """Everybody comes once more, and the day is judged; returns by which version."""
    people(config, impressions=range(impression, impression + 1), day=at(day))
    return monitor(config, day=at(day).date()).model_version


def reference_of(config: Config, version: str) -> pa.Table:
    chosen = (pc.field("model_version") == version) & (pc.field("window") == "reference")
    rows = Store.of(config).read("probes", filter=chosen)
    return rows.sort_by([("capture_id", "ascending")])
