"""What containers may do, who gets in, and that no secret lies about."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from docker.models.networks import Network

from deploy.local.airflow_api import AirflowApi, AirflowApiError, DagRun
from deploy.local.places import REPOSITORY
from tests.containers.stack import LASTING, CommandFailed, ContainerStack
from tests.system.live import ended

pytestmark = [pytest.mark.containers, pytest.mark.smoke]
PORTS = {"postgres": [5432], "redis": [6379], "ray-head": [6379, 8265, 10001], "mlflow": [5000]}
_KNOCK = """
import json, socket, sys
def open_(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
print(json.dumps([[h, p] for h, p in json.loads(sys.argv[1]) if open_(h, p)]))
"""


@pytest.mark.parametrize("service", LASTING)
def test_containers_may_do_little(small: ContainerStack, service: str) -> None:
    for container in small.containers(service):
        host = container.attrs["HostConfig"]
        assert "ALL" in (host["CapDrop"] or []), host["CapDrop"]
        assert any("no-new-privileges" in option for option in host["SecurityOpt"] or [])
        assert not host["Privileged"]
        assert host["PidMode"] == ""
        assert host["NetworkMode"] != "host"
        assert host["RestartPolicy"]["Name"] in ("always", "unless-stopped", "on-failure")
        assert host["LogConfig"]["Config"].get("max-size")
        assert host["Memory"] > 0
        sources = [mount.get("Source", "") for mount in container.attrs["Mounts"]]
        assert not [source for source in sources if source.endswith("docker.sock")]


def test_ports_are_on_the_loopback_address(small: ContainerStack) -> None:
    published = {
        (binding["HostIp"], binding["HostPort"])
        for container in small.containers()
        for bindings in container.attrs["HostConfig"]["PortBindings"].values()
        for binding in bindings or []
    }
    mine = {str(small.ports.airflow), str(small.ports.mlflow)}
    assert published == {("127.0.0.1", port) for port in mine}


def test_no_secret_is_in_what_inspect_tells(small: ContainerStack) -> None:
    values = small.secrets()
    assert len(set(values.values())) == len(values) >= 9
    told = json.dumps([container.attrs for container in small.containers()])
    images = {container.image.id for container in small.containers()}
    told += json.dumps([small.engine.images.get(one).history() for one in images])
    assert [name for name, value in values.items() if value in told] == []


def test_no_secret_is_committed(small: ContainerStack) -> None:
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=REPOSITORY, text=True)
    paths = [REPOSITORY / name for name in names.split("\0") if name]
    tracked = b"".join(path.read_bytes() for path in paths if path.is_file())
    assert [name for name, value in small.secrets().items() if value.encode() in tracked] == []
    assert Path(small.env["SECRETS_DIR"]).stat().st_mode & 0o077 == 0


@pytest.fixture
def elsewhere(small: ContainerStack) -> Iterator[Network]:
    """A network that is not the stack's."""
    network = small.engine.networks.create(f"{small.project}-elsewhere", driver="bridge")
    try:
        yield network
    finally:
        network.remove()


def addresses(small: ContainerStack) -> list[list[object]]:
    """Every address at which the inner services listen, and their names."""
    found: list[list[object]] = []
    for service, ports in PORTS.items():
        networks = small.container(service).attrs["NetworkSettings"]["Networks"].values()
        hosts = {network["IPAddress"] for network in networks} | {service}
        found += [[host, port] for host in sorted(hosts) for port in ports]
    return found


def reached(small: ContainerStack, network: str, knock: list[list[object]]) -> list[list[object]]:
    """Those that answer to a container on a network."""
    told = small.engine.containers.run(
        f"biometric-airflow:{small.env['IMAGE_TAG']}",
        ["-c", _KNOCK, json.dumps(knock)],
        entrypoint="python",
        network=network,
        remove=True,
    )
    return list(json.loads(told))


def test_inner_services_are_out_of_reach_from_another_network(
    small: ContainerStack, elsewhere: Network
) -> None:
    knock = addresses(small)
    (gateway,) = (one["Gateway"] for one in elsewhere.attrs["IPAM"]["Config"])
    published = [[gateway, small.ports.airflow], [gateway, small.ports.mlflow]]
    assert reached(small, elsewhere.name, knock + published) == []
    inner = [str(name) for name in small.container("postgres").attrs["NetworkSettings"]["Networks"]]
    (open_,) = [reached(small, name, knock) for name in inner]
    by_name = {(host, port) for host, port in open_ if host in PORTS}
    # The check itself works: inside, all but Ray's optional ports answer.
    assert {("postgres", 5432), ("redis", 6379), ("ray-head", 6379), ("mlflow", 5000)} <= by_name


_JOIN = "import ray; ray.init(address='ray-head:6379', log_to_driver=False); print('let in')"


def test_redis_and_ray_want_credentials_inside_too(small: ContainerStack) -> None:
    assert b"NOAUTH" in small.container("redis").exec_run(["redis-cli", "ping"]).output
    joining = ("timeout", "40", "python", "-c", _JOIN)
    assert "let in" in small.run_in("worker", *joining)
    other = ("env", "--unset=RAY_AUTH_TOKEN_PATH", f"RAY_AUTH_TOKEN={'0' * 64}")
    with pytest.raises(CommandFailed, match="InvalidAuthToken"):
        small.run_in("worker", *other, *joining)


def test_the_api_wants_a_token(small: ContainerStack) -> None:
    for path in ("dags", "pools", "connections"):
        answer = httpx.get(f"{small.url}/api/v2/{path}", timeout=30, trust_env=False)
        assert answer.status_code == 401
    wrong = AirflowApi(small.url, "admin", "wrong")
    with pytest.raises(AirflowApiError, match="refuses the login: 401"):
        wrong.dags()


def person(small: ContainerStack, role: str) -> AirflowApi:
    """A client of somebody with a role."""
    name = role.lower()
    password = f"{name}-{small.project}"
    small.run_in(
        "api-server", "airflow", "users", "create", "--username", name, "--role", role,
        "--password", password, "--email", f"{name}@example.org",
        "--firstname", name, "--lastname", name,
    )  # fmt: skip
    return AirflowApi(small.url, name, password)


def test_a_viewer_reads_and_an_operator_triggers(small: ContainerStack, champion: DagRun) -> None:
    viewer, operator = person(small, "Viewer"), person(small, "Op")
    assert viewer.run(champion.dag_id, champion.run_id).state == "success"
    with pytest.raises(AirflowApiError, match="403"):
        viewer.trigger("biometric_monitoring", {"day": "2026-03-01"})
    with pytest.raises(AirflowApiError, match="403"):
        viewer._call("PATCH", "dags/biometric_training", json={"is_paused": True})
    run = operator.trigger("biometric_monitoring", {"day": "2026-03-01"})
    assert ended(small, run).state == "success"
