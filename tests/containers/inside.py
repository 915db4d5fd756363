"""What a stack holds, told as JSON: handed to `python -c` in its worker, where the stores are.

python -c "$(cat inside.py)" FUNCTION [ARGUMENT ...]
"""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from biometric_core.config import Config, load_config
from biometric_core.history import decisions
from biometric_core.schemas import KEYS
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs


def decided() -> list[dict[str, Any]]:
    """The decisions on record, the oldest first."""
    return [asdict(one) for one in decisions.read(Store.of(load_config()))]


def state() -> dict[str, Any]:
    """Everything that must outlive the containers."""
    config = load_config()
    reigning = roles(config)
    return {
        "tables": {name: digest(config.storage.root, name) for name in KEYS},
        "versions": [asdict(version) for version in registry.versions(config)],
        "roles": reigning,
        "champion": metrics("champion") if "champion" in reigning else {},
        "reports": _files(Path(config.storage.root) / "reports"),
        "decisions": [one["decision_id"] for one in decided()],
    }


def intact(config: Config | None = None) -> dict[str, Any]:
    """Signs of work that was lost or done twice; in the worker's own stores where none is named."""
    config = config or load_config()
    store = Store.of(config)
    captures = store.read("captures", ["capture_id", "uri"]).to_pylist()
    wrong = [
        row["capture_id"]
        for row in captures
        if hashlib.sha256(store.files.read(row["uri"])).hexdigest() != row["capture_id"]
    ]
    return {
        "captures": len(captures),
        "features": store.read("features", ["capture_id"]).num_rows,
        "wrong_images": wrong,
        "twice": twice(config),
        "training_runs": training_runs(config),
        "versions": len(registry.versions(config)),
        "decisions": len(decisions.read(store)),
    }


def twice(config: Config) -> dict[str, int]:
    """Rows too many by table: those that another row says again."""
    found = {}
    for name, keys in KEYS.items():
        rows = Store.of(config).read(name, list(keys))
        extra = rows.num_rows - rows.group_by(list(keys)).aggregate([]).num_rows
        found |= {name: extra} if extra else {}
    return found


def metrics(version: str) -> dict[str, float]:
    """The figures of a version, by the run that it came from."""
    config = load_config()
    return runs.get_run(config, registry.require(config, version).run_id).metrics


def run_of(version: str) -> str:
    """The MLflow run that a version came from."""
    return registry.require(load_config(), version).run_id


def champion_weights() -> str:
    """SHA-256 of the network that the champion's bundle holds, loaded through the server."""
    return weights(load_config(), "champion")


def weights(config: Config, version: str) -> str:
    """Of the network in a registered bundle, bit for bit: SHA-256."""
    model, _ = registry.load_recogniser(config, version)
    found = hashlib.sha256()
    for name, tensor in sorted(model.net.state_dict().items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def roles(config: Config) -> dict[str, str]:
    """The version that each alias names, of those that name one."""
    found = {alias: registry.get(config, alias) for alias in registry.ALIASES}
    return {alias: version.version for alias, version in found.items() if version}


def training_runs(config: Config) -> list[str]:
    """The states of all training runs."""
    return [run.status for run in runs.find_runs(config, tag=runs.KIND, value="training")]


def digest(root: str, table: str) -> str:
    """Of every row of a table, whatever their order."""
    order = [(key, "ascending") for key in KEYS[table]]
    rows = Store(root).read(table).sort_by(order).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return f"{rows.num_rows} {hashlib.sha256(sink.getvalue()).hexdigest()}"


def cluster() -> dict[str, float]:
    """What the Ray cluster offers."""
    import ray

    from biometric_core.parallel.ray_pool import ray_cluster

    with ray_cluster(load_config()):
        return dict(ray.cluster_resources())


def asked(*urls: str) -> dict[str, int]:
    """The status with which each address answers without credentials."""
    import httpx

    return {url: httpx.get(url, timeout=20, trust_env=False).status_code for url in urls}


def _files(folder: Path) -> dict[str, str]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
