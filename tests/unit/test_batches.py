import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import toy_set, toy_sets

from biometric_core.batches import Classes, assemble, epoch_rows, labelled, steps
from biometric_core.models.spec import variants
from biometric_core.schemas import Modality


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
    batch = assemble(rows, data, torch.device("cpu"), torch.Generator().manual_seed(0))
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
    batch = assemble(rows, data, torch.device("cpu"), torch.Generator())
    assert set(batch.prepared) == {Modality.FINGERPRINT}
    assert not batch.fused[:, 0].any()
