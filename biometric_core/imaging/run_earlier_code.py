"""Run as a script, with the code of a model's bundle: captures' files in, prepared images out.

Its process knows the bundle's `biometric_core` alone (see `earlier_code`). So only what every
release has had is asked of it, and nothing that is new here can be used.
"""

import inspect
import json
import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import cv2
import pyarrow as pa


class _ItsOwnAlone:
    """Finds modules of the package where the package lies, and nowhere else.

    An editable install would add modules of another release to those that the bundle doesn't have.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "biometric_core":
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found


def main() -> None:
    """Read a request from the standard input, write the answer to the standard output."""
    sys.meta_path.insert(0, _ItsOwnAlone)
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the code prints is no answer
    request = pa.ipc.open_stream(sys.stdin.buffer).read_all()
    facts = json.loads(request.schema.metadata[b"facts"])
    with answer, pa.ipc.new_stream(answer, (rows := _answered(request, facts)).schema) as writer:
        writer.write_table(rows)


def _answered(request: pa.Table, facts: dict[str, Any]) -> pa.Table:
    """One row a file: image and mask (null on a failure), quality and failure."""
    from biometric_core.config import Config, Ingest, Preprocess
    from biometric_core.schemas import Modality

    prepare_batch, preprocess_version = _offered()
    settings, limits = (_known(s, facts[s.__name__]) for s in (Preprocess, Ingest))
    arguments = [request["data"].to_pylist(), Modality(facts["modality"]), settings, limits]
    if "bits" in inspect.signature(prepare_batch).parameters:
        arguments.append(request["bits"].to_pylist())
    cv2.setNumThreads(1)
    batch = prepare_batch(*arguments)
    pixels = iter(zip(batch.images, batch.masks, strict=True))
    made = [None if why else tuple(p.tobytes() for p in next(pixels)) for why in batch.failures]
    rows = pa.table(
        {
            "image": pa.array([one and one[0] for one in made], pa.large_binary()),
            "mask": pa.array([one and one[1] for one in made], pa.large_binary()),
            "quality": pa.array(batch.quality, pa.float32()),
            "failure": pa.array(batch.failures, pa.string()),
        }
    )
    height, width = batch.images.shape[1:]
    version = preprocess_version(Config(preprocess=settings))
    told = {"version": version, "height": height, "width": width}
    return rows.replace_schema_metadata({"facts": json.dumps(told)})


def _known(section: Any, values: dict[str, Any]) -> Any:
    """A section of the configuration; settings that this release doesn't have are left out."""
    return section(**{name: v for name, v in values.items() if name in section.model_fields})


def _offered() -> tuple[Any, Any]:
    """What prepares a batch, and what names the version."""
    try:
        found = import_module("biometric_core.imaging.preparation")
    except ImportError:  # of a release before its modules moved into packages
        names = import_module("biometric_core.preprocess").preprocess_version
        return import_module("biometric_core.prepare").prepare_batch, names
    return found.prepare_batch, found.preprocess_version


if __name__ == "__main__":
    main()
