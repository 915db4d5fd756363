import io
import pickle
from pathlib import Path

import pytest
import torch

from biometric_core.errors import ModelError, StorageError
from biometric_core.recogniser.files import refuse_pickle
from biometric_core.training import checkpoint
from biometric_core.training.checkpoint import FILE_NAME, TrainingState

STATE = TrainingState(
    digest="abc",
    epochs_run=2,
    best_epoch=1,
    best_score=-0.1,
    history=[{"loss": 0.1 + 0.2}, {"loss": 1e-300}],
    model={"a.weight": torch.arange(4.0)},
    best={"a.weight": torch.ones(4, dtype=torch.bfloat16)},
    optimiser={"0.step": torch.tensor(3.0), "0.exp_avg": torch.randn(2, 3, 4, 4)},
)


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_survives_bit_for_bit(tmp_path):
    back = checkpoint.load(checkpoint.save(STATE, tmp_path))
    assert back.history == STATE.history
    assert (back.digest, back.epochs_run, back.best_epoch, back.best_score, back.finished) == (
        "abc",
        2,
        1,
        -0.1,
        False,
    )
    for group in ("model", "best", "optimiser"):
        for name, tensor in getattr(STATE, group).items():
            found = getattr(back, group)[name]
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)


def test_leaves_one_file_and_replaces_it(tmp_path):
    checkpoint.save(STATE, tmp_path)
    checkpoint.save(TrainingState("later"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert checkpoint.load(tmp_path / FILE_NAME).digest == "later"


def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint.save(STATE, tmp_path)

    def no_space(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(StorageError, match="no space left"):
        checkpoint.save(TrainingState("later"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert checkpoint.load(tmp_path / FILE_NAME).digest == "abc"


def torch_saved(bomb):
    buffer = io.BytesIO()
    torch.save(bomb, buffer)
    return buffer.getvalue()


def torch_saved_legacy(bomb):
    buffer = io.BytesIO()
    torch.save(bomb, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "dump", [torch_saved, torch_saved_legacy, pickle.dumps, lambda b: pickle.dumps(b, protocol=0)]
)
def test_a_pickle_is_refused_and_nothing_of_it_runs(tmp_path, dump):
    trace = tmp_path / "executed"
    data = dump(Bomb(trace))
    pickle.loads(pickle.dumps(Bomb(trace))).close()
    assert trace.exists()  # the bomb is live
    trace.unlink()
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(ModelError, match=r"pickle.*refused"):
        checkpoint.load(tmp_path / FILE_NAME)
    assert not trace.exists()


@pytest.mark.parametrize("header", [b"\x80", b"("])
def test_a_header_length_that_looks_like_a_pickle_is_no_pickle(header):
    refuse_pickle(header + b"\0" * 7 + b'{"__metadata__"', "file")


@pytest.mark.parametrize("cut", [0, 1, 7, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    path = checkpoint.save(STATE, tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match="damaged"):
        checkpoint.load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="not one of ours"):
        checkpoint.load(tmp_path / "other.safetensors")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelError, match="can't be read"):
        checkpoint.load(tmp_path / FILE_NAME)
