"""The verdict on models whose quality is known: the same network looking through other glasses."""

import math
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pytest

from biometric_core.config import Config
from biometric_core.data.capture_sets import from_columns
from biometric_core.errors import ModelError
from biometric_core.history.changes import Change
from biometric_core.matching.calibration import Calibration
from biometric_core.matching.gallery import Encoded, fused_gallery, modality_gallery
from biometric_core.matching.templates import Embeddings
from biometric_core.promotion.ruling import rule
from biometric_core.schemas import Modality
from tests.support.tiny_store import changed, small

DAY = date(2026, 1, 3)
LATENCY = {"p50_ms": 5.0}
CALIBRATION = {modality: Calibration(10.0, -3.0, 10, 10) for modality in Modality}


@dataclass(frozen=True)
class Model:
    """Stands in for a recogniser: unit vectors of the pixels, with noise of a known size."""

    noise: float
    noise_after: float | None = None  # on captures of DAY or later; None: the same
    subjects: tuple[str, ...] = ()
    modalities: tuple[Modality, ...] = tuple(Modality)
    seed: int = 0
    calibration: object = None

    def __post_init__(self):
        object.__setattr__(self, "calibration", CALIBRATION)

    def embed_set(self, captures):
        rng = np.random.default_rng(self.seed)
        late = captures.captured_at >= np.datetime64(DAY)
        after = self.noise if self.noise_after is None else self.noise_after
        sizes = np.where(late, after, self.noise)[:, None]
        flat = captures.images.reshape(len(captures), -1).astype(np.float32) - 128
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        noisy = flat + rng.normal(size=flat.shape) * sizes / math.sqrt(flat.shape[1])
        return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)

    def galleries(self, sets, embeddings, codes=None):
        encoders = {
            m: [Encoded(Embeddings(embeddings[m]), c.weight, c.bias)]
            for m, c in self.calibration.items()
            if m in sets
        }
        found = {m.value: modality_gallery(one, encoders[m]) for m, one in sets.items()}
        return {**found, "fused": fused_gallery(sets, encoders)}

    other_fusions = ()

    def fuse(self, embeddings, present, kind=None):
        del present
        return next(iter(embeddings.values()))


def captures(
    modality: Modality, subjects: int, days: dict[int, str], numbers: dict[int, int] | None = None
):
    """One identity a subject; `days` gives each impression its day, `numbers` another number."""
    columns = {
        name: []
        for name in ("capture_id", "subject_id", "position", "sensor", "split", "impression")
    }
    columns["captured_at"], images = [], []
    for subject in range(subjects):
        own = np.random.default_rng([subject, modality == Modality.IRIS]).normal(128, 40, (8, 16))
        for impression, day in days.items():
            columns["capture_id"].append(f"{modality}{subject:03}{impression}")
            columns["subject_id"].append(f"s{subject:03}")
            columns["position"].append("left")
            columns["sensor"].append("default")
            columns["split"].append("test")
            columns["impression"].append((numbers or {}).get(impression, impression))
            columns["captured_at"].append(day)
            images.append(np.clip(own, 0, 255).astype(np.uint8))
    pixels = np.stack(images)
    quality = np.ones(len(pixels), np.float32)
    return from_columns(modality, columns, pixels, np.full_like(pixels, 255), quality)


def sets(subjects: int = 20, days: dict[int, str] | None = None):
    days = days or dict.fromkeys(range(1, 5), "2026-01-01")
    return {modality: captures(modality, subjects, days) for modality in Modality}


MIXED = {1: "2026-01-01", 2: "2026-01-01", 3: "2026-01-01", 4: "2026-01-03", 5: "2026-01-03"}


@pytest.fixture
def rules(config: Config) -> Config:
    return small(config)


def verdict(challenger, champion, found, config, **kwargs):
    return rule(challenger, champion, found, config, latency=LATENCY, **kwargs)


def test_without_a_champion_the_release_thresholds_decide(rules):
    found = sets()
    assert verdict(Model(0.5), None, found, rules).promote
    strict = changed(rules, "release", max_eer_fused=0.001)
    refused = verdict(Model(6.0), None, found, strict)
    assert not refused.promote
    assert "fused EER" in refused.reason


def test_impressions_numbered_from_one_each_day_are_judged_as_if_numbered_through(rules):
    days = {number: f"2026-01-0{number}" for number in range(1, 5)}
    through = sets(days=days)
    anew = {m: captures(m, 20, days, dict.fromkeys(days, 1)) for m in Modality}
    found, expected = (verdict(Model(0.5), None, one, rules) for one in (anew, through))
    assert found.promote, found.reason
    assert found.numbers == expected.numbers
    assert found.numbers["subjects"] == 20


def test_eyes_and_fingers_of_different_days_are_said_not_to_be_fused(rules):
    days = dict.fromkeys(range(1, 5), "2026-01-01")
    found = {Modality.IRIS: captures(Modality.IRIS, 20, days)}
    later = dict.fromkeys(days, "2026-01-02")
    found[Modality.FINGERPRINT] = captures(Modality.FINGERPRINT, 20, later)
    judged = verdict(Model(0.5), None, found, rules)
    (note,) = judged.numbers["release"]["reasons"]
    assert note.startswith("note: fused: no visit")
    assert not verdict(Model(0.5), None, sets(), rules).numbers["release"]["reasons"]


def test_a_better_challenger_is_promoted_and_a_worse_one_is_not(rules):
    found = sets()
    better = verdict(Model(1.5, seed=1), Model(5.0, seed=2), found, rules)
    assert better.promote, better.reason
    found_all = better.numbers["improvement"]["all"]
    assert found_all["cllr"]["low"] > found_all["worth"] > 0
    assert found_all["eer"]["value"] > 0
    worse = verdict(Model(5.0, seed=2), Model(1.5, seed=1), found, rules)
    assert not worse.promote
    assert worse.numbers["improvement"]["all"]["cllr"]["high"] < 0
    assert worse.numbers["improvement"]["all"]["cllr"]["value"] == pytest.approx(
        -found_all["cllr"]["value"]
    )


def test_a_challenger_that_is_no_better_is_not_promoted(rules):
    same = verdict(Model(3.0), Model(3.0), sets(), rules)
    assert not same.promote
    assert "not proven" in same.reason
    promoted = sum(
        verdict(Model(3.0, seed=2 * k), Model(3.0, seed=2 * k + 1), sets(), rules).promote
        for k in range(20)
    )
    assert promoted <= 3


def test_each_is_measured_on_its_own_preparation_of_the_same_captures(rules):
    challengers, coded = sets(), []

    class Watched(Model):
        def galleries(self, found, embeddings, codes=None):
            coded.append((self.seed, codes))
            return super().galleries(found, embeddings, codes)

    rng = np.random.default_rng(5)
    champions = {
        modality: replace(
            found, images=rng.integers(0, 256, found.images.shape, dtype=np.uint8)
        )  # of which nobody can be told by anything
        for modality, found in challengers.items()
    }
    models = (Watched(3.0, seed=1), Watched(3.0, seed=2))
    alike = verdict(*models, challengers, rules)
    assert "not proven" in alike.reason
    own = verdict(*models, challengers, rules, champions=champions)
    assert own.promote, own.reason
    assert own.numbers["challenger"] == alike.numbers["challenger"]
    assert own.numbers["champion"]["iris"]["eer"] > alike.numbers["champion"]["iris"]["eer"]
    of_champion = [codes for seed, codes in coded if seed == 2]
    assert of_champion[0] is not None, "the same images have the same codes"
    assert of_champion[1] is None, "other images have codes of their own"


def test_after_drift_better_on_the_new_and_no_worse_on_the_old_is_needed(rules):
    rules = changed(rules, "gate", margin=0.05, margin_cllr=0.2)
    found = sets(30, MIXED)
    champion = Model(1.5, noise_after=8.0, seed=1)
    fixed = verdict(Model(1.5, seed=2), champion, found, rules, change=Change(DAY))
    assert fixed.promote, fixed.reason
    assert set(fixed.numbers["improvement"]) == {"all", "new", "old"}
    forgot = verdict(
        Model(6.0, noise_after=1.5, seed=2), champion, found, rules, change=Change(DAY)
    )
    assert not forgot.promote
    assert "not shown to be worse by less" in forgot.reason
    blind = verdict(Model(1.5, noise_after=8.0, seed=3), champion, found, rules, change=Change(DAY))
    assert not blind.promote
    assert "not proven better" in blind.reason


def test_a_drift_day_without_captures_never_promotes(rules):
    late = verdict(Model(0.5), Model(6.0), sets(), rules, change=Change(date(2026, 2, 1)))
    assert not late.promote
    assert "too few subjects" in late.reason


def test_subjects_that_either_model_saw_are_left_out(rules):
    champion = Model(5.0, subjects=tuple(f"s{n:03}" for n in range(10)))
    challenger = Model(1.0, subjects=tuple(f"s{n:03}" for n in range(5, 15)))
    found = verdict(challenger, champion, sets(20), rules)
    assert found.numbers["subjects"] == 5
    few = verdict(challenger, champion, sets(16), changed(rules, "gate", min_subjects=2))
    assert not few.promote
    assert "gate.min_subjects" in few.reason


@pytest.mark.parametrize("latency", [None, {"p50_ms": float("nan")}, {}])
def test_missing_or_nan_latency_never_promotes(rules, latency):
    assert not rule(Model(0.5), None, sets(), rules, latency=latency).promote


def test_scores_that_are_not_numbers_are_an_error_not_a_promotion(rules):
    with pytest.raises((ValueError, ModelError)):
        verdict(Model(float("nan")), Model(3.0), sets(), rules)


def test_models_of_different_modalities_are_measured_on_what_both_know(rules):
    iris = Model(2.0, modalities=(Modality.IRIS,))
    found = verdict(iris, Model(5.0), sets(), rules)
    assert found.numbers["champion"]["fingerprint"] is None
    assert found.numbers["champion"]["fused"] is not None


def test_new_and_old_go_by_the_sensor_that_moved(rules):
    found = sets(30, MIXED)
    late = {m: s.captured_at >= np.datetime64(DAY) for m, s in found.items()}
    renamed = {
        m: replace(s, sensor=np.where(late[m] & (s.impression == 5), "second", s.sensor))
        for m, s in found.items()
    }
    change = Change(DAY, {("iris", "second")})
    rows = {m: change.changed(s) for m, s in renamed.items()}
    iris = renamed[Modality.IRIS]
    assert set(iris.impression[rows[Modality.IRIS]]) == {5}
    assert not rows[Modality.FINGERPRINT].any(), "another modality did not move"
    both = Change(DAY, {("iris", "default"), ("iris", "second")})
    assert np.array_equal(both.changed(iris), late[Modality.IRIS]), "not before the day"
    champion = Model(1.5, noise_after=8.0, seed=1)
    made = verdict(Model(1.5, seed=2), champion, renamed, rules, change=change)
    assert made.numbers["improvement"]["new"]["cllr"]["low"] > 0
