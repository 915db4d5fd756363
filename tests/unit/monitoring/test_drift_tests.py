"""Drift statistics on simulated embeddings: valid under the null, sensitive to a planted bias."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biometric_core.history import drift_table
from biometric_core.history.drift_table import MEASURES
from biometric_core.monitoring import drift_tests, permutation_tests
from biometric_core.monitoring.designs import averaging, design
from biometric_core.monitoring.equal_samples import coded
from biometric_core.monitoring.permutation_tests import Relabelling, holm
from biometric_core.monitoring.windows import Attempts, Window


class World:
    """People with two eyes each; unit embeddings clustered by identity, with visit effects.

    Genuine cosine about 0.65, impostor about 0 +- 0.1, as the notes measured. Residuals of subjects
    the model was trained on are smaller.
    """

    def __init__(self, subjects: int, dim: int = 64, trained: float = 0.5, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.dim = dim
        self.centres = _unit(self.rng.normal(size=(subjects, 2, dim)))
        self.trained = np.arange(subjects) < trained * subjects

    def window(
        self, subjects: np.ndarray, probes: int, bias: float = 0.0, noise: float = 1.0
    ) -> Window:
        """`probes` captures of each eye of each subject, against a template of two captures."""
        who = np.repeat(subjects, 2 * probes)
        eye = np.tile(np.repeat([0, 1], probes), len(subjects))
        template = np.repeat(self.templates[subjects].reshape(-1, self.dim), probes, axis=0)
        visit = np.repeat(self._noise(subjects.size), 2 * probes, axis=0) * 0.4
        spread = np.where(self.trained[who], 0.6, 1.0)[:, None] * noise
        moved = self.centres[who, eye] + spread * (visit + 0.6 * self._noise(len(who)))
        moved[:, : self.dim // 10] += bias / np.sqrt(self.dim)
        probe = _unit(moved)
        return Window(
            subject=who.astype(str),
            identity=np.char.add(np.char.add(who.astype(str), "/iris/"), eye.astype(str)),
            trained_on=self.trained[who],
            weight=np.ones(len(who)),
            residual=probe - template,
            template=template,
            genuine=(probe * template).sum(axis=1),
            measures=self.rng.uniform(size=(len(who), len(MEASURES))),
        )

    def enrol(self) -> None:
        """Templates of two captures each, kept for every later window."""
        spread = np.where(self.trained, 0.6, 1.0)[:, None, None]
        captures = [
            self.centres + spread * 0.7 * self._noise(*self.centres.shape[:2]) for _ in "ab"
        ]
        self.templates = _unit(_unit(captures[0]) + _unit(captures[1]))

    def _noise(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=(*shape, self.dim)) / np.sqrt(self.dim)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _day(
    seed: int, new_share: float, *, bias: float = 0.0, noise: float = 1.0, permutations: int = 199
) -> dict[str, float]:
    """p-values of one day of 30 subjects against a reference of 60 others and acquaintances."""
    world = World(120, seed=seed)
    world.enrol()
    known = np.r_[0:30, 60:90]
    new = int(30 * new_share)
    strangers = 90 + world.rng.permutation(30)[:new]
    people = np.r_[world.rng.permutation(known)[: 30 - new], strangers]
    reference = world.window(known, 1)
    current = world.window(people, 2, bias, noise)
    plan = design(reference, current)
    asked = {"permutations": permutations, "seed": seed}
    tests = [
        *drift_tests.probe_tests(reference, current, plan, **asked),
        drift_tests.quality_test(reference, current, plan, **asked),
    ]
    return {test.name: test.p_value for test in tests}


def _alarms(days: list[dict[str, float]], alpha: float) -> float:
    names = (drift_table.RESIDUAL_T2, drift_table.GENUINE_SHIFT)
    return float(np.mean([min(holm([day[n] for n in names])) < alpha for day in days]))


@pytest.mark.parametrize("new_share", [0.0, 0.5, 1.0])
def test_days_without_drift_are_calm_whoever_comes_through_the_door(new_share: float) -> None:
    days = [_day(seed, new_share) for seed in range(100)]
    # 5 % expected; 12 of 100 or more has probability 0.004 there.
    assert _alarms(days, alpha=0.05) < 0.12


@pytest.mark.parametrize("new_share", [0.0, 0.5, 1.0])
def test_a_sensor_bias_is_found(new_share: float) -> None:
    days = [_day(1000 + seed, new_share, bias=1.0) for seed in range(15)]
    assert _alarms(days, alpha=0.05) > 0.8


def test_noise_is_found_by_the_genuine_score() -> None:
    days = [_day(2000 + seed, 0.2, noise=1.5) for seed in range(15)]
    assert np.mean([day[drift_table.GENUINE_SHIFT] < 0.05 for day in days]) > 0.8


def test_p_values_are_uniform_without_drift() -> None:
    p_values = [
        _day(3000 + seed, 0.3, permutations=99)[drift_table.RESIDUAL_T2] for seed in range(150)
    ]
    for level in (0.1, 0.25, 0.5):
        share = np.mean(np.asarray(p_values) <= level)
        assert abs(share - level) < 3.5 * np.sqrt(level * (1 - level) / 150)


def test_trained_subjects_never_stand_for_strangers() -> None:
    world = World(40, seed=1)
    world.enrol()
    reference, current = world.window(np.arange(0, 30), 1), world.window(np.arange(25, 40), 1)
    plan = design(reference, current)
    assert (len(plan.pairs_current), len(plan.unseen), len(plan.new)) == (5, 5, 10)
    dropped = np.isin(reference.subject, np.arange(20).astype(str))
    assert not plan.unseen.matrix[:, dropped].count_nonzero()
    assert not plan.pairs_reference.matrix[:, dropped].count_nonzero()


def test_an_identity_in_one_window_only_does_not_enter_its_pair() -> None:
    world = World(20, seed=2)
    world.enrol()
    reference, both = world.window(np.arange(20), 1), world.window(np.arange(20), 2)
    left = np.char.endswith(both.identity, "/0")
    current = _take(both, left)
    plan = design(reference, current)
    assert plan.pairs_reference.matrix[:, np.char.endswith(reference.identity, "/1")].sum() == 0
    np.testing.assert_allclose(plan.pairs_reference.matrix.sum(axis=1), 1)
    np.testing.assert_allclose(plan.pairs_current.matrix.sum(axis=1), 1)


def test_the_contrast_of_pairs_is_the_mean_difference_and_keeps_its_sign() -> None:
    world = World(20, seed=3, trained=1.0)
    world.enrol()
    reference, current = world.window(np.arange(20), 1), world.window(np.arange(20), 1)
    plan = design(reference, current)
    _, genuine = drift_tests.probe_tests(reference, current, plan, permutations=99, seed=0)
    expected = current.genuine.mean() - reference.genuine.mean()
    assert genuine.value == pytest.approx(expected)


def test_relabelling_respects_both_strata() -> None:
    world = World(60, seed=4)
    world.enrol()
    plan = design(world.window(np.arange(45), 1), world.window(np.arange(35, 60), 1))
    assert (len(plan.pairs_current), len(plan.unseen), len(plan.new)) == (10, 5, 15)
    draws = Relabelling.draw(plan, 50, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(draws.signs), 1 / 10)
    assert (draws.signs[0] > 0).all()
    assert (np.count_nonzero(draws.contrast > 0, axis=1) == len(plan.new)).all()
    np.testing.assert_allclose(draws.contrast.sum(axis=1), 0, atol=1e-9)


def test_the_same_seed_gives_the_same_p_values() -> None:
    assert _day(5, 0.3) == _day(5, 0.3)


def test_population_monitor_tells_other_people_from_another_sensor() -> None:
    world = World(80, seed=6, trained=0.0)
    world.enrol()
    world.templates[40:] = _unit(world.templates[40:] + 0.2)
    world.centres[40:] = _unit(world.centres[40:] + 0.2)
    reference, current = world.window(np.arange(40), 1), world.window(np.arange(40, 80), 1)
    population = drift_tests.population_test(reference, current, permutations=199, seed=0)
    assert population is not None
    assert population.p_value < 0.01


def test_population_monitor_is_silent_without_new_subjects() -> None:
    world = World(20, seed=7)
    world.enrol()
    reference, current = world.window(np.arange(20), 1), world.window(np.arange(20), 1)
    assert drift_tests.population_test(reference, current, permutations=99, seed=0) is None


def test_nothing_comparable_is_refused_not_guessed() -> None:
    world = World(40, seed=8, trained=1.0)
    world.enrol()
    reference, current = world.window(np.arange(20), 1), world.window(np.arange(20, 40), 1)
    plan = design(reference, current)
    assert plan.subjects == 0
    assert plan.smallest_p == 1.0
    with pytest.raises(ValueError, match="no subject"):
        drift_tests.probe_tests(reference, current, plan, permutations=99, seed=0)


def test_a_window_refuses_rows_that_do_not_fit() -> None:
    world = World(4, seed=9)
    world.enrol()
    window = world.window(np.arange(4), 1)
    with pytest.raises(ValueError, match="genuine has"):
        Window(**{**window.__dict__, "genuine": window.genuine[:-1]})
    with pytest.raises(ValueError, match="not finite"):
        Window(**{**window.__dict__, "measures": window.measures * np.nan})


def test_five_pairs_can_not_alarm_at_one_percent() -> None:
    world = World(5, seed=10)
    world.enrol()
    plan = design(world.window(np.arange(5), 1), world.window(np.arange(5), 1))
    assert plan.smallest_p == pytest.approx(2 / 2**5)


def test_a_change_of_the_captures_alone_is_found_by_the_quality_measures() -> None:
    world = World(60, seed=12)
    world.enrol()
    reference, current = world.window(np.arange(60), 1), world.window(np.arange(60), 1)
    darker = replace(current, measures=current.measures - [0, 0, 0, 0.3])
    plan = design(reference, darker)
    asked = {"permutations": 199, "seed": 0}
    tests = [
        *drift_tests.probe_tests(reference, darker, plan, **asked),
        drift_tests.quality_test(reference, darker, plan, **asked),
    ]
    p_values = {test.name: test.p_value for test in tests}
    assert p_values[drift_table.QUALITY_T2] <= 0.01
    assert p_values[drift_table.RESIDUAL_T2] > 0.01


def _attempts(people: np.ndarray, failed: np.ndarray) -> Attempts:
    names = people.astype(str)
    return Attempts(names, names, np.zeros(len(names), bool), np.ones(len(names)), failed * 1.0)


@pytest.mark.parametrize("people", [np.arange(60), np.arange(60, 120)])
def test_more_failures_to_acquire_are_found_and_fewer_are_none(people: np.ndarray) -> None:
    some = np.arange(60) < 20
    p_values = []
    for before, now in ((~some & False, some), (some, ~some & False)):
        reference, current = _attempts(np.arange(60), before), _attempts(people, now)
        plan = design(reference, current)
        p_values.append(
            drift_tests.rate_test(
                drift_table.FAILURE_SHIFT, reference, current, plan, permutations=199, seed=0
            ).p_value
        )
    assert p_values[0] == pytest.approx(1 / 200)
    assert p_values[1] > 0.5


def test_without_any_failure_there_is_nothing_to_find() -> None:
    everyone = np.arange(60)
    reference = _attempts(everyone, everyone < 0)
    plan = design(reference, reference)
    found = drift_tests.rate_test(
        drift_table.FAILURE_SHIFT, reference, reference, plan, permutations=199, seed=0
    )
    assert found == drift_tests.Statistic(drift_table.FAILURE_SHIFT, 0.0, 1.0, 60, 1.0)


def test_subjects_of_recent_days_weigh_more_and_give_their_latest_captures() -> None:
    rows = _attempts(np.array(["a", "a", "b"]), np.array([1, 0, 1]))
    rows = replace(rows, weight=np.array([0.25, 1.0, 0.5]))
    found = design(_attempts(np.array(["a", "b"]), np.zeros(2)), rows).pairs_current
    np.testing.assert_allclose(found.matrix @ rows.failed, [0.0, 1.0])
    np.testing.assert_allclose(found.weight, [1.0, 0.5])
    assert found.effective == pytest.approx(1.5**2 / 1.25)


def test_identities_of_a_subject_count_alike_however_many_rows_they_have() -> None:
    rows = _attempts(np.array(["a"] * 4), np.array([1, 0, 0, 0]))
    rows = replace(rows, identity=np.array(["left", "right", "right", "right"]))
    window, _ = coded(rows, rows)
    assert (averaging(window, np.arange(4)).matrix @ rows.failed)[0] == pytest.approx(0.5)


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=12))
def test_holm_never_falls_below_the_p_value_nor_above_bonferroni(p_values: list[float]) -> None:
    corrected = np.asarray(holm(p_values))
    raw = np.asarray(p_values)
    assert (corrected >= raw - 1e-12).all()
    assert (corrected <= np.minimum(1, raw * len(raw)) + 1e-12).all()
    order = np.argsort(raw)
    assert (np.diff(corrected[order]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1.0, raw.min() * len(raw)))


def test_permutation_p_counts_the_observed_among_the_relabellings() -> None:
    assert permutation_tests.permutation_p(np.array([3.0, 1, 2, 4])) == pytest.approx(2 / 4)
    assert permutation_tests.permutation_p(np.array([5.0, 5, 5])) == 1.0


def _take(window: Window, rows: np.ndarray) -> Window:
    return Window(**{name: value[rows] for name, value in window.__dict__.items()})
