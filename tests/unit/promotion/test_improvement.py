"""What counts as better, and what as no worse."""

import math
from dataclasses import replace

import numpy as np
import pytest

from biometric_core.config import Gate
from biometric_core.matching.comparisons import Comparisons
from biometric_core.promotion.improvement import Difference, Improvement, improvement, measured
from biometric_core.promotion.ruling import compare, conclude
from biometric_core.schemas import Modality

SETTINGS = Gate(bootstrap=300)
SUBJECTS = np.repeat(np.arange(20), 3).astype(str)


def comparisons(seed: int = 0, spread: float = 1.0, scale: float = 1.0) -> Comparisons:
    """Ratios of 20 subjects with three items each: right for spread and scale 1."""
    first, second = np.triu_indices(len(SUBJECTS), 1)
    mated = SUBJECTS[first] == SUBJECTS[second]
    noise = np.random.default_rng(seed).normal(size=len(mated))
    scores = scale * (np.where(mated, 4.0, -4.0) + spread * math.sqrt(8) * noise)
    items = np.arange(len(SUBJECTS)).astype(str)
    return Comparisons(scores, mated, first, second, items, SUBJECTS)


def found(champion: Comparisons, challenger: Comparisons, settings: Gate = SETTINGS) -> Improvement:
    return improvement(measured([champion], settings), measured([challenger], settings), settings)


@pytest.mark.parametrize("missing", [0, 1, 10])
def test_people_are_drawn_once_for_all_modalities(missing):
    """Errors that a modality shares with another are no further evidence.

    The second modality has the same comparisons of fewer people. Drawn apart, the interval would be
    0.7 times as wide (0.9 with half of the people) as that of the first alone.
    """
    settings = Gate(bootstrap=2000)
    models = comparisons(seed=1, spread=1.4), comparisons()
    there = SUBJECTS.astype(int) >= missing
    fewer = [part.select(there[part.first] & there[part.second]) for part in models]
    for order in (1, -1):
        sides = [list(pair)[::order] for pair in zip(models, fewer, strict=True)]
        mean = improvement(*(measured(side, settings) for side in sides), settings).cllr
        alone = found(*models, settings).cllr
        width = (mean.high - mean.low) / (alone.high - alone.low)
        assert 0.97 < width < 1.3


def difference(champion: float | None, low: float | None, high: float | None = 1.0) -> Difference:
    return Difference(champion, 0.1, low, low, high)


def test_ratios_that_mislead_cost_though_the_order_is_the_same():
    right = comparisons()
    one = found(replace(right, scores=right.scores - 6), right)
    assert one.cllr.low > 0.1
    assert one.eer.value == pytest.approx(0)
    assert one.better(SETTINGS)
    assert not found(right, right).better(SETTINGS)
    assert found(right, right).no_worse(SETTINGS)


def test_a_difference_that_is_no_chance_but_tiny_is_not_worth_a_switch():
    luck = Improvement(difference(0.02, 0.004), difference(0.01, 0.0), 9)
    assert not luck.better(SETTINGS)
    assert luck.better(Gate(min_improvement=0.003, min_improvement_share=0.0))


def test_a_share_of_the_champions_cost_is_asked_for_as_well():
    eer = difference(0.01, 0.0)
    assert Improvement(difference(0.02, 0.011), eer, 9).better(SETTINGS)
    assert Improvement(difference(0.02, 0.011), eer, 9).worth(SETTINGS) == 0.01
    assert not Improvement(difference(0.9, 0.011), eer, 9).better(SETTINGS)
    assert Improvement(difference(0.9, 0.011), eer, 9).worth(SETTINGS) == pytest.approx(0.09)


def test_better_ratios_never_pay_for_worse_discrimination():
    cllr = difference(0.5, 0.3)
    assert Improvement(cllr, difference(0.01, -0.019), 9).better(SETTINGS)
    assert not Improvement(cllr, difference(0.01, -0.021), 9).better(SETTINGS)
    assert not Improvement(cllr, difference(0.01, -0.021), 9).no_worse(SETTINGS)
    assert not Improvement(difference(0.5, -0.11), difference(0.01, 0.0), 9).no_worse(SETTINGS)


@pytest.mark.parametrize("low", [None, math.nan, -math.inf])
@pytest.mark.parametrize("kind", ["cllr", "eer"])
def test_what_is_missing_or_no_number_proves_nothing(low, kind):
    good = {"cllr": difference(0.5, 0.4), "eer": difference(0.2, 0.1)}
    assert Improvement(**good, subjects=9).better(SETTINGS)
    broken = Improvement(**{**good, kind: difference(0.5, low)}, subjects=9)
    assert not broken.better(SETTINGS)
    assert not broken.no_worse(SETTINGS)
    unknown = Improvement(**{**good, "cllr": difference(None, 0.4)}, subjects=9)
    assert not unknown.better(SETTINGS)


def test_a_part_without_comparisons_is_no_figure_and_no_promotion():
    right = comparisons()
    nothing = right.select(np.zeros(len(right), bool))
    one = found(nothing, nothing)
    assert (one.cllr.value, one.eer.value, one.subjects) == (None, None, 0)
    assert "not measurable" in str(one)
    made = conclude({"all": one}, SETTINGS)
    assert not made.promote
    assert "too few subjects" in made.reason


def test_different_pairs_are_refused():
    one = comparisons()
    other = replace(one, mated=~one.mated)
    with pytest.raises(ValueError, match="same pairs"):
        compare({Modality.IRIS: (one, other)}, None, SETTINGS)
