import pytest

from biometric_core.config import config_dir
from deploy.local.places import Layout, Ports, environment
from deploy.local.stack import Stack


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A stack whose processes get the profile `mine`, and none of them started."""
    for path in config_dir().glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("BIOMETRIC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("BIOMETRIC_PROFILE", "mine")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def begin(profile: str) -> Stack:
        (tmp_path / "mine.yaml").write_text(profile)
        stack = Stack(Layout(tmp_path / "var"))
        stack.spawned = []
        monkeypatch.setattr(Stack, "spawn", lambda self, name, _: self.spawned.append(name))
        stack.begin()
        return stack

    return begin


def test_bounds_of_a_profile_are_those_of_the_ray_started_here(begun, monkeypatch):
    stack = begun("ray: {num_cpus: 1, object_store_mb: 100}")
    assert stack.spawned == ["migrate", "ray"]
    command = stack._ray_command()
    assert "--num-cpus=1" in command
    assert f"--object-store-memory={100 * 2**20}" in command
    assert stack.env["RAY_ADDRESS"] == f"127.0.0.1:{stack.ports.ray}"
    monkeypatch.setenv("BIOMETRIC__RAY__NUM_CPUS", "2")
    assert "--num-cpus=2" in stack._ray_command(), "the environment wins over the profile"


def test_a_cluster_of_a_profile_is_joined_and_none_is_started(begun):
    stack = begun("ray: {address: '10.0.0.1:6379'}")
    assert stack.spawned == ["migrate"]
    stack.wait_for_ray()
    assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"} & set(stack.env)


def test_a_mistake_is_told_before_anything_starts(tmp_path, monkeypatch):
    from biometric_core.errors import ConfigError

    monkeypatch.setenv("BIOMETRIC__RAY__NUM_CPUS", "all")
    with pytest.raises(ConfigError, match=r"BIOMETRIC__RAY__NUM_CPUS: ray\.num_cpus"):
        environment(Layout(tmp_path), Ports.choose(usual=False), watch_files=False)
