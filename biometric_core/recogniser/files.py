"""A recogniser on disk: `model.safetensors` and `recogniser.json`; nothing in them is executed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from biometric_core.config import Ingest, Preprocess
from biometric_core.errors import ModelError
from biometric_core.matching.calibration import Calibration
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.storage.files import atomic_write, writable

LENGTH_BYTES = 8  # safetensors: little-endian length of the JSON header comes first

TENSORS = "model.safetensors"
DESCRIPTION = "recogniser.json"
FORMAT = "biometric-recogniser-4"
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


def write(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write the tensors, then the description with their SHA-256, each in one rename.

    Args:
        folder: made when missing.
        fields: the attributes of a `recogniser.Recogniser` by name.

    Raises:
        StorageError: the disk is full.
    """
    state = {name: tensor.contiguous() for name, tensor in fields["net"].state_dict().items()}
    facts = {"format": FORMAT, "preprocess_version": fields["preprocess_version"]}
    tensors = save_tensors(state, facts)
    description = {
        "format": FORMAT,
        "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
        "spec": fields["spec"].to_json(),
        "calibration": {m.value: asdict(c) for m, c in fields["calibration"].items()},
        "code_calibration": {m.value: asdict(c) for m, c in fields["code_calibration"].items()},
        "thresholds": {
            name: {repr(fmr): value for fmr, value in values.items()}
            for name, values in fields["thresholds"].items()
        },
        "subjects": list(fields["subjects"]),
        "preprocess": fields["settings"].model_dump(mode="json"),
        "preprocess_version": fields["preprocess_version"],
        "limits": fields["limits"].model_dump(mode="json"),
        "minutiae": fields["minutiae"],
    }
    text = json.dumps(description, indent=1, sort_keys=True, allow_nan=False)
    with writable(str(folder)):
        atomic_write(folder / TENSORS, tensors)
        atomic_write(folder / DESCRIPTION, text.encode())


def read(folder: Path) -> dict[str, Any]:
    """The attributes that `write` was given.

    Raises:
        ModelError: a file is missing, damaged, of another kind, or a pickle (never executed).
    """
    data = {}
    for name in (TENSORS, DESCRIPTION):
        try:
            data[name] = (Path(folder) / name).read_bytes()
        except OSError as error:
            raise ModelError(f"no recogniser here: {name}: {error.strerror}") from error
        refuse_pickle(data[name], name)
    try:
        return _rebuilt(json.loads(data[DESCRIPTION]), data[TENSORS])
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the recogniser is damaged or foreign ({reason}): train again") from error


def _rebuilt(description: dict[str, Any], tensors: bytes) -> dict[str, Any]:
    if description["format"] != FORMAT:
        raise ValueError(f"format is {description['format']!r}, expected {FORMAT!r}")
    if hashlib.sha256(tensors).hexdigest() != description["tensors_sha256"]:
        raise ValueError(f"{TENSORS} is not the file that {DESCRIPTION} was written with")
    spec = ModelSpec.from_json(description["spec"])
    # All is replaced at once: what is drawn for it is nobody's random numbers. (The device "meta"
    # would draw none, but computes in Python, and loads a compiler for that: 1.5 s.)
    with torch.random.fork_rng(devices=[]):
        net = BiometricNet(spec)
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in load_tensors(tensors).items()
    }
    net.load_state_dict(state, assign=True)
    for tensor in state.values():  # running means as well as weights
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError("weights that are not finite")
    return {
        "spec": spec,
        "net": net.eval(),
        **{
            name: {Modality(m): Calibration(**c) for m, c in description[name].items()}
            for name in ("calibration", "code_calibration")
        },
        "thresholds": {
            name: {float(fmr): float(value) for fmr, value in values.items()}
            for name, values in description["thresholds"].items()
        },
        "subjects": tuple(description["subjects"]),
        "settings": Preprocess(**description["preprocess"]),
        "preprocess_version": description["preprocess_version"],
        "limits": Ingest(**description["limits"]),
        "minutiae": bool(description["minutiae"]),
    }


def refuse_pickle(data: bytes, name: str) -> None:
    """Raise ModelError where `data` looks like a pickle or like the zip that `torch.save` makes.

    Unpickling runs code of the file's author, so such a file is never opened, whatever its name.
    """
    if data[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":  # safetensors; its parser judges the rest
        return
    if data[:4] == b"PK\x03\x04" or data[:1] in (b"\x80", b"(", b"c"):
        raise ModelError(
            f"{name} is a pickle (torch.save or the like), which can run code when it is loaded: "
            "refused. Only safetensors are accepted"
        )
