import os

import numpy as np
import pytest
import torch

from biometric_core.errors import DataError
from biometric_core.training.batches import Classes, epoch_rows, labelled, steps
from biometric_core.training.feed import feed
from tests.support.toys import toy_sets


@pytest.fixture(scope="module")
def data():
    sets = toy_sets(6)
    return labelled(sets, Classes.of(sets))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batches(data, seed=0, **options):
    plan = steps(epoch_rows(data, 40, np.random.default_rng(seed)), 8)
    generator = torch.Generator().manual_seed(seed)
    return list(feed(plan, data, torch.device("cpu"), generator, **options))


def test_batches_made_in_advance_are_the_same_in_the_same_order(data, one_thread, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    ahead = batches(data)
    plain = batches(data, alone=False)
    assert len(ahead) == len(plain) == 5
    for one, other in zip(ahead, plain, strict=True):
        assert torch.equal(one.subjects, other.subjects)
        assert torch.equal(one.fused, other.fused)
        for modality, prepared in one.prepared.items():
            assert torch.equal(prepared, other.prepared[modality])


def test_an_error_while_reading_ahead_reaches_the_loop(data, one_thread, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})

    def broken(*args, **kwargs):
        raise DataError("the file is gone")

    monkeypatch.setattr("biometric_core.training.feed.fetch", broken)
    with pytest.raises(DataError, match="the file is gone"):
        batches(data)


def test_an_epoch_that_is_given_up_leaves_no_thread(data, one_thread, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    plan = steps(epoch_rows(data, 40, np.random.default_rng(0)), 8)
    given = feed(plan, data, torch.device("cpu"), torch.Generator())
    next(given)
    given.close()
    with pytest.raises(StopIteration):
        next(given)
