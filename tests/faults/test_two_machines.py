"""Promoters on two machines: one object store and one registry, no folder in common."""

import itertools
import os
import signal
import traceback
from collections.abc import Callable
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
from tests.faults.test_at_once import at_once, promoter
from tests.faults.worlds import configured, decided, made_champion, people
from tests.support.tiny_store import changed
from tests.support.untrained import register_untrained

pytestmark = pytest.mark.slow
KILLS = 20


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


def on_its_machine(configs: list[Config], barrier: object, place: int) -> None:
    """Promote a version of its own."""
    promoter(configs[place], barrier, str(2 + place))


def test_of_two_promoters_on_two_machines_one_wins(machines: list[Config]):
    one, other = machines
    made = register_untrained
    pair = [made(one, good=True, seed=0), made(other, good=True, seed=1)]
    assert pair == ["2", "3"]
    at_once(on_its_machine, machines, 0, 1)
    promoted, rejected = sorted(decided(one)[1:])
    assert (promoted[0], rejected[0]) == ("promoted", "rejected")
    assert {promoted[2], rejected[2]} == set(pair)
    assert promoted[1] == rejected[1] == "1", "which both were compared with"
    assert roles(other) == {"champion": promoted[2], "previous": "1"}
    lost = next(one for one in decisions.read(Store.of(other)) if one.decision == "rejected")
    said = f"it was version 1, now it is version {promoted[2]}"
    assert lost.reason == f"champion changed meanwhile: {said}"
    assert registry.require(one, rejected[2]).tags["gate.decision"] == "rejected"


def killed(config: Config, version: str, step: int, told: object) -> None:
    """Promote a version; die at the so manieth step: before or after a change, turn by turn."""
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
    import multiprocessing

    monkeypatch.setattr(promote, "_judge", promote._judge)  # put back afterwards
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "biometric_core.stages.evaluate"])
    one, other = machines
    versions = itertools.cycle([register_untrained(one, good=True), "1"])
    kills, step, champion = 0, 1, "1"
    expected = decided(one)
    while kills < KILLS:
        version, told = next(versions), server.SimpleQueue()
        process = server.Process(target=killed, args=(one, version, step, told))
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
