import numpy as np

from biometric_core.evaluation.plots.worst_pairs import worst
from tests.support.report_world import world


def test_the_worst_mated_and_non_mated_pairs_in_order():
    _, found = world(6)
    told = worst(found, 4)
    mated, non_mated = found.scores[found.mated], found.scores[~found.mated]
    assert found.mated[told.mated].all()
    assert not found.mated[told.non_mated].any()
    assert found.scores[told.mated].tolist() == np.sort(mated)[:4].tolist()
    assert found.scores[told.non_mated].tolist() == np.sort(non_mated)[::-1][:4].tolist()


def test_fewer_than_asked_for():
    _, found = world(2, positions=1, impressions=2)
    told = worst(found, 10)
    assert (len(told.mated), len(told.non_mated)) == (2, 4)
