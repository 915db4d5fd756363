"""Promoters on two machines: one object store and one registry, no folder in common."""

import itertools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.promotion import switch
from biometric_core.promotion.ruling import Ruling
from biometric_core.stages import promote
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.containers.inside import roles
from tests.faults.test_at_once import at_once
from tests.faults.worlds import configured, decided, made_champion, people
from tests.support.tiny_store import changed
from tests.support.untrained import register_untrained

pytestmark = pytest.mark.long
KILLS = 20
LONG = 300.0  # seconds


@pytest.fixture
def machines(tmp_path: Path, bucket: str) -> list[Config]:
    """Two of them, and a champion that is easily beaten."""
    shared = configured(tmp_path)
    found = [
        changed(shared, "storage", root=f"{bucket}/store", work=str(tmp_path / name))
        for name in ("one", "other")
    ]
    people(found[0])
    store = Store.of(found[0])
    store.publish(store.path("captures", "any.png"))  # the file that the captures are of
    made_champion(found[0], good=False)
    return found


def on_its_machine(configs: list[Config], barrier: Barrier, place: int) -> None:
    """Promote a version of its own; the second machine looks who is champion, and then is slow."""
    judge, look = promote._judge, registry.champion_version

    def judged(*arguments: object) -> object:
        verdict = judge(*arguments)
        barrier.wait(LONG)
        if place == 1:
            registry.champion_version = slowly
        else:
            barrier.wait(LONG)  # the other one has looked
        return verdict

    def slowly(config: Config) -> str | None:
        registry.champion_version = look
        found = look(config)
        for _ in ("has looked", "the other one is done"):
            barrier.wait(LONG)
        return found

    promote._judge = judged
    promote.promote(configs[place], version=str(2 + place))
    if place == 0:
        barrier.wait(LONG)


def test_of_two_promoters_on_two_machines_one_wins(machines: list[Config]):
    one, other = machines
    made = register_untrained
    pair = [made(one, good=True, seed=0), made(other, good=True, seed=1)]
    assert pair == ["2", "3"]
    at_once(on_its_machine, machines, 0, 1)
    assert sorted(decided(one)[1:]) == [("promoted", "1", "2"), ("rejected", "1", "3")]
    assert roles(other) == {"champion": "2", "previous": "1"}
    lost = next(one for one in decisions.read(Store.of(other)) if one.decision == "rejected")
    assert lost.reason == "champion changed meanwhile: it was version 1, now it is version 2"
    assert registry.require(one, "3").tags["gate.decision"] == "rejected"


def killed(
    config: Config, version: str, step: int, told: object, environment: dict[str, str]
) -> None:
    """Promote a version; die at the so manieth step: before or after a change, turn by turn."""
    os.environ.update(environment)  # the server of processes may be older than a test's settings
    steps = itertools.count(1)

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            found = real(*arguments, **named)
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return wrapped

    try:
        for name in ("tag", "untag", "set_alias", "drop_alias"):
            setattr(registry, name, dying(getattr(registry, name)))
        decisions.write = dying(decisions.write)
        decide_for(config, version)
        told.put("survived")
    except BaseException:
        told.put(traceback.format_exc())
        raise


def decide_for(config: Config, version: str) -> decisions.Decision:
    """The gate's way, but for the proof: among so few people nothing is proven twice."""
    promote._judge = lambda *_: Ruling(True, "better", {})
    return promote.promote(config, version=version, trigger="training")


def test_a_switch_killed_between_any_two_steps_is_completed_by_the_next_on_another_machine(
    machines: list[Config], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(promote, "_judge", promote._judge)  # put back afterwards
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "biometric_core.stages.evaluate"])
    one, other = machines
    versions = itertools.cycle([register_untrained(one, good=True), "1"])
    kills, step, champion = 0, 1, "1"
    expected = decided(one)
    while kills < KILLS:
        version, told = next(versions), server.SimpleQueue()
        process = server.Process(target=killed, args=(one, version, step, told, dict(os.environ)))
        process.start()
        process.join()
        survived = process.exitcode == 0
        assert survived or process.exitcode == -signal.SIGKILL, told.get()
        made = decide_for(other, version)
        expected.append(("promoted", champion, version))
        assert decided(other) == expected, f"killed at step {step}"
        assert (made.decision, made.challenger_version) == ("promoted", version)
        assert roles(other) == {"champion": version, "previous": champion}, f"step {step}"
        tags = [name for found in registry.versions(other) for name in found.tags]
        assert not [name for name in tags if name.startswith(switch._PENDING)], f"step {step}"
        champion = version
        kills, step = (kills, 1) if survived else (kills + 1, step + 1)
