import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biometric_core.recogniser.network.spec import variants
from biometric_core.schemas import Modality
from biometric_core.training.batches import (
    Classes,
    Order,
    assemble,
    epoch_rows,
    fetch,
    labelled,
    steps,
)
from tests.support.toys import toy_set, toy_sets


@pytest.fixture(scope="module")
def sets():
    return {
        Modality.IRIS: toy_set(Modality.IRIS, 5, positions=2),
        Modality.FINGERPRINT: toy_set(Modality.FINGERPRINT, 4, first=2, impressions=1),
    }


def test_class_order_does_not_depend_on_the_order_of_rows(sets):
    rng = np.random.default_rng(0)
    shuffled = {m: found.select(rng.permutation(len(found))) for m, found in reversed(sets.items())}
    classes = Classes.of(sets)
    assert classes == Classes.of(shuffled)
    assert list(classes.subjects) == sorted(set(classes.subjects))
    data = labelled(shuffled, classes)
    for modality, found in data.items():
        names = np.array(classes.identities[modality])
        assert (names[found.identity] == found.captures.identity).all()
        assert (np.array(classes.subjects)[found.subject] == found.captures.subject_id).all()


def test_each_capture_is_used_once_and_paired_within_its_subject(sets):
    data = labelled(sets, Classes.of(sets))
    rows = epoch_rows(data, 1, np.random.default_rng(1))
    for place, modality in enumerate(Modality):
        column = rows.captures[:, place]
        used = column[column >= 0]
        assert sorted(used) == list(range(len(sets[modality])))
        assert (data[modality].subject[used] == rows.subject[column >= 0]).all()
    assert (rows.captures >= 0).any(axis=1).all()


def test_pairs_change_from_epoch_to_epoch(sets):
    data = labelled(sets, Classes.of(sets))
    pairs = [
        {tuple(pair) for pair in epoch_rows(data, 1, np.random.default_rng(e)).captures.tolist()}
        for e in range(2)
    ]
    assert pairs[0] != pairs[1]


@settings(max_examples=30, deadline=None)
@given(least=st.integers(1, 200), size=st.integers(1, 70), world=st.integers(1, 4))
def test_workers_share_every_row_in_equally_many_steps(sets, least, size, world):
    rows = epoch_rows(labelled(sets, Classes.of(sets)), least, np.random.default_rng(0))
    assert len(rows) >= least
    for place, modality in enumerate(Modality):
        assert set(rows.captures[:, place]) - {-1} == set(range(len(sets[modality])))
    shares = [steps(rows, size, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = np.concatenate([part.captures for share in shares for part in share])
    assert sorted(map(tuple, together)) == sorted(map(tuple, rows.captures))


def test_assembled_labels_belong_to_the_captures(sets):
    classes = Classes.of(sets)
    data = labelled(sets, classes)
    rows = epoch_rows(data, 1, np.random.default_rng(2))
    batch = assemble(fetch(rows, data), data, torch.device("cpu"), torch.Generator().manual_seed(1))
    for place, (modality, names) in enumerate(classes.identities.items()):
        variant = batch.identities[modality] // len(names)
        identity = batch.identities[modality] % len(names)
        owners = [names[i].split("/")[0] for i in identity]
        assert owners == [classes.subjects[i] for i in batch.subjects[batch.rows[modality]]]
        assert 0 < (variant == 0).float().mean() < 1
        assert variant.max() < variants(modality)
        # People who don't exist stay out of the fused head.
        assert not batch.fused[batch.rows[modality][variant != 0], place].any()
    assert batch.fused.all(dim=1).any()
    assert (batch.fused.sum(dim=1) == 1).any()


def test_a_single_capture_of_a_modality_is_left_out_of_the_step():
    sets = toy_sets(3, impressions=1)
    sets[Modality.IRIS] = sets[Modality.IRIS].select(np.array([0]))
    data = labelled(sets, Classes.of(sets))
    rows = epoch_rows(data, 1, np.random.default_rng(0))
    batch = assemble(fetch(rows, data), data, torch.device("cpu"), torch.Generator())
    assert set(batch.prepared) == {Modality.FINGERPRINT}
    assert not batch.fused[:, 0].any()


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 5), size=st.integers(4, 40), world=st.integers(1, 2))
def test_impressions_of_a_subject_come_in_one_step(sets, k, size, world):
    data = labelled(sets, Classes.of(sets))
    rows = epoch_rows(data, 60, np.random.default_rng(3), Order(impressions=k))
    shares = [steps(rows, size, rank, world, together=True) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    place = 0
    for parts in zip(*shares, strict=True):
        subject = np.concatenate([part.subject for part in parts])
        assert len(subject)
        assert (subject == rows.subject[place : place + len(subject)]).all()
        place += len(subject)
        if place < len(rows):
            assert rows.subject[place] != subject[-1], "no subject's rows are cut apart"
    assert place == len(rows)
    lengths = np.diff(np.flatnonzero(np.diff(rows.subject, prepend=-1, append=-1)))
    _, counts = np.unique(rows.subject, return_counts=True)
    assert lengths.max() >= min(k, counts.max())


def test_a_window_keeps_neighbours_near_and_changes_with_the_seed(sets):
    many = {Modality.IRIS: toy_set(Modality.IRIS, 60, impressions=2)}
    data = labelled(many, Classes.of(many))

    def subjects(seed, window):
        order = Order(window=window)
        return epoch_rows(data, 1, np.random.default_rng(seed), order).subject

    near, far = subjects(0, 12), subjects(0, None)
    reach = [np.ptp(near[start : start + 4]) for start in range(0, 120, 4)]
    assert np.median(reach) <= 6
    assert np.median([np.ptp(far[start : start + 4]) for start in range(0, 120, 4)]) > 12
    assert sorted(near) == sorted(far)
    assert (subjects(0, 12) == near).all()
    assert (subjects(1, 12) != near).any()


def test_what_is_fetched_are_the_captures_of_the_step(sets):
    data = labelled(sets, Classes.of(sets))
    rows = epoch_rows(data, 1, np.random.default_rng(1))
    fetched = fetch(rows, data)
    for place, (modality, found) in enumerate(data.items()):
        captures = rows.captures[fetched.places[modality], place]
        assert (captures >= 0).all()
        assert (fetched.identity[modality] == found.identity[captures]).all()
        assert (fetched.pixels[modality][0].numpy() == found.captures.images[captures]).all()
