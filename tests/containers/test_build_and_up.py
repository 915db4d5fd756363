"""The images and the stack: how large, how soon, how much memory, and what it refuses."""

import ast
import copy
import time
from collections.abc import Callable

import pytest

from benchmarks.rows import Row, at_most
from tests.containers.room import Room
from tests.containers.stack import IMAGES, TAG, CommandFailed, ContainerStack

pytestmark = pytest.mark.containers
smoke = pytest.mark.smoke
_GB, _GIB = 1e9, 2**30
_MOST_GB = {"biometric-airflow": 1.5, "biometric-worker": 16.0}


@smoke
def test_images(images: ContainerStack, room: Room, measured: Callable[[Row], None]) -> None:
    if room.built_from_cold is not None:
        measured(from_cold(room.built_from_cold, "fetched"))
    for name in IMAGES:
        image = images.engine.images.get(f"{name}:{images.env['IMAGE_TAG']}")
        size = image.attrs["Size"] / _GB
        measured(at_most(f"size of the image {name}", size, _MOST_GB[name], "GB"))
        assert image.attrs["Config"]["User"] not in ("", "0", "root")
        assert image.labels["org.opencontainers.image.title"]


def from_cold(seconds: float, downloads: str) -> Row:
    name = "build of both targets from cold"
    return at_most(name, seconds / 60, 15, "minutes", downloads=downloads)


def test_build_from_cold(
    images: ContainerStack, room: Room, measured: Callable[[Row], None]
) -> None:
    """Without the layers of earlier builds; what those have fetched is kept all the same."""
    if room.built_from_cold is not None:
        return
    images.env["IMAGE_TAG"] = f"{TAG}-cold"
    try:
        measured(from_cold(images.build("--no-cache"), "kept from earlier builds"))
    finally:
        for name in IMAGES:
            images.engine.images.remove(f"{name}:{TAG}-cold")
        images.env["IMAGE_TAG"] = TAG


@smoke
def test_the_control_plane_has_nothing_heavy(images: ContainerStack) -> None:
    program = "import importlib.util as u; print([n for n in %r if u.find_spec(n)])"
    heavy = ("torch", "ray", "mlflow", "evidently")
    name = f"biometric-airflow:{images.env['IMAGE_TAG']}"
    command = ["-c", program % (heavy,)]
    told = images.engine.containers.run(name, command, entrypoint="python", remove=True)
    assert told.decode().strip() == "[]"


@smoke
def test_everything_gets_healthy(
    small: ContainerStack, room: Room, measured: Callable[[Row], None]
) -> None:
    measured(at_most("make up to all healthy, images built", room.seconds, 180, "s"))
    assert small.healthy(), small.troubles()
    assert small.api.import_errors() == []


@smoke
def test_idle_memory(small: ContainerStack, measured: Callable[[Row], None]) -> None:
    time.sleep(20)  # after the start has calmed down
    used = {name: size / _GIB for name, size in small.idle_memory().items()}
    total = sum(used.values())
    measured(at_most("idle memory of the whole stack", total, 4, "GiB", containers=used))
    assert total > 0.5


_OWNERS = """
import collections, pathlib, sys
found = [p for f in sys.argv[1:] for p in (pathlib.Path(f), *pathlib.Path(f).rglob("*"))]
print(dict(collections.Counter((path.lstat().st_uid, path.lstat().st_gid) for path in found)))
"""


@smoke
@pytest.mark.parametrize("service", ["worker", "scheduler", "mlflow"])
def test_files_in_volumes_belong_to_the_configured_user(
    small: ContainerStack, champion: object, service: str
) -> None:
    mounts = small.container(service).attrs["Mounts"]
    volumes = [mount["Destination"] for mount in mounts if mount["Type"] == "volume"]
    assert volumes
    owners = ast.literal_eval(small.run_in(service, "python", "-c", _OWNERS, *volumes))
    uid = int(small.run_in(service, "id", "-u"))
    assert uid != 0
    assert set(owners) == {(uid, 0)}
    assert sum(owners.values()) > len(volumes)


@smoke
def test_without_secrets_it_does_not_start(images: ContainerStack) -> None:
    refused = copy.copy(images)
    refused.env = images.env | {
        "SECRETS_DIR": str(images.folder / "none"),
        "COMPOSE_PROJECT_NAME": f"{images.project}-refused",
    }
    with pytest.raises(CommandFailed) as error:
        refused.make("up")
    said = str(error.value)
    assert "make secrets" in said
    assert "Traceback" not in said
    try:
        with pytest.raises(CommandFailed, match="secret"):
            refused.compose("up", "--detach", "postgres")
    finally:
        refused.down()
