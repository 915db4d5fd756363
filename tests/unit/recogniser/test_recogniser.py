import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from biometric_core.config import load_config
from biometric_core.errors import CaptureRefused, ModelError
from biometric_core.imaging.fingerprint import minutiae
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.matching import error_rates
from biometric_core.matching.calibration import Calibration
from biometric_core.matching.comparisons import compare_all
from biometric_core.recogniser import DECISION_FMR, FUSED, Recogniser
from biometric_core.recogniser.files import DESCRIPTION, TENSORS
from biometric_core.recogniser.recogniser import with_own_shapes
from biometric_core.schemas import Modality, Sample
from biometric_core.training.assembly import calibrated, recogniser_of
from biometric_core.training.fit import fit
from tests.support.toys import SHAPES, toy_config, toy_sets

IRIS, FINGER = Modality.IRIS, Modality.FINGERPRINT


@pytest.fixture(scope="module")
def sets():
    return {
        "train": toy_sets(6),
        "validation": toy_sets(8, first=20, positions=2),
        "test": toy_sets(5, first=40),
    }


@pytest.fixture(scope="module")
def recogniser(sets):
    config = toy_config(epochs=2)
    return recogniser_of(fit(sets["train"], sets["validation"], config), sets["validation"], config)


def test_embeddings_are_of_unit_length_and_do_not_depend_on_the_batch(recogniser, sets):
    captures = sets["test"][IRIS]
    found = recogniser.embed_set(captures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    single = recogniser.embed(IRIS, captures.images, captures.masks, batch=1)
    np.testing.assert_allclose(single, found, atol=1e-5)
    assert recogniser.embed(IRIS, captures.images[:0], captures.masks[:0]).shape == (0, 16)


def test_images_of_another_shape_are_refused(recogniser):
    blank = np.zeros((1, 10, 10), np.uint8)
    with pytest.raises(ValueError, match="expected"):
        recogniser.embed(IRIS, blank, blank)


def test_scores_are_calibrated_cosines(recogniser, sets):
    vectors = recogniser.embed_set(sets["test"][FINGER])
    scores = recogniser.compare(FINGER, vectors[:4], vectors)
    calibration = recogniser.calibration[FINGER]
    assert scores.shape == (4, len(vectors))
    for i, j in ((0, 1), (3, 7)):
        cosine = float(vectors[i].astype(np.float64) @ vectors[j])
        assert scores[i, j] == pytest.approx(
            calibration.weight * cosine + calibration.bias, rel=1e-3
        )


def test_calibration_separates_validation_at_zero(recogniser, sets):
    for modality in Modality:
        assert recogniser.calibration[modality].fitted
        captures = sets["validation"][modality]
        scores = recogniser.compare(modality, *[recogniser.embed_set(captures)] * 2)
        mated = captures.identity[:, None] == captures.identity[None, :]
        np.fill_diagonal(mated, False)
        off = ~np.eye(len(captures), dtype=bool)
        assert scores[mated].mean() > 0 > scores[off & ~mated].mean()


def test_thresholds_hold_on_the_subjects_they_were_measured_on(recogniser, sets):
    captures = sets["validation"][IRIS]
    galleries = recogniser.galleries({IRIS: captures}, {IRIS: recogniser.embed_set(captures)})
    found = compare_all(galleries["iris"])
    threshold = recogniser.threshold(0.01, IRIS)
    # scores pass through float32 here: allow for its rounding
    assert (found.scores[~found.mated] >= threshold + 1e-3).mean() <= 0.01
    expected = error_rates.threshold_at_fmr(found.scores[~found.mated], 0.01)
    assert threshold == pytest.approx(expected, abs=1e-3)


def test_a_threshold_that_was_not_measured_is_a_stricter_one_or_the_bound(recogniser):
    measured = recogniser.thresholds["iris"]
    assert min(measured) == 0.001  # 8 subjects, 2 eyes, 3 captures carry no less
    assert recogniser.threshold(0.015, IRIS) == measured[0.01]
    assert recogniser.threshold(1e-6, IRIS) == pytest.approx(-math.log(1e-6))
    strictest = max(recogniser.threshold(0.01, modality) for modality in Modality)
    assert recogniser.threshold(0.01) == strictest
    assert recogniser.threshold(0.01, FUSED) == recogniser.thresholds[FUSED][0.01]
    for wrong in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="false match rate"):
            recogniser.threshold(wrong)


def test_claims_are_rejected_below_the_threshold_of_decisions_but_never_above_zero(recogniser):
    found = {"iris": {DECISION_FMR: -1.5}, "fingerprint": {DECISION_FMR: 4.0}}
    for thresholds, iris, finger in ((found, -1.5, 0.0), ({}, 0.0, 0.0)):
        model = replace(recogniser, thresholds=thresholds)
        assert (model.claim_threshold(IRIS), model.claim_threshold(FINGER)) == (iris, finger)


def test_without_mated_validation_pairs_scores_stay_cosines(recogniser, sets):
    singles = {
        modality: captures.select(np.unique(captures.identity, return_index=True)[1])
        for modality, captures in sets["validation"].items()
    }
    blank = replace(
        recogniser,
        calibration={modality: Calibration() for modality in Modality},
        code_calibration={},
        thresholds={},
    )
    found = calibrated(blank, {IRIS: sets["validation"][IRIS], FINGER: singles[FINGER]})
    assert found.calibration[IRIS].fitted
    assert found.calibration[FINGER] == Calibration()
    assert not found.calibration[FINGER].fitted
    assert FUSED in found.thresholds
    _, by_minutiae = found.weighed(FINGER, found.templates(singles[FINGER]))
    assert (by_minutiae.weight, by_minutiae.bias) == (
        minutiae.DEFAULT_WEIGHT,
        minutiae.DEFAULT_BIAS,
    )
    # nobody to calibrate on at all
    assert calibrated(blank, {}).thresholds == {}


def test_closed_set_probabilities_over_the_training_subjects(recogniser, sets):
    vectors = {m: recogniser.embed_set(captures) for m, captures in sets["train"].items()}
    count = len(vectors[IRIS])
    present = np.ones((count, 2), bool)
    found = recogniser.closed_set(vectors, present)
    assert found.shape == (count, 6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    present[:, 1] = False
    alone = recogniser.closed_set({IRIS: vectors[IRIS]}, present)
    garbage = {IRIS: vectors[IRIS], FINGER: np.full_like(vectors[IRIS], np.nan)}
    np.testing.assert_array_equal(alone, recogniser.closed_set(garbage, present))


def test_saved_and_loaded_it_gives_the_same_bit_for_bit(recogniser, sets, tmp_path):
    recogniser.save(tmp_path)
    state = torch.random.get_rng_state()
    found = Recogniser.load(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    for modality in Modality:
        captures = sets["test"][modality]
        one, two = recogniser.embed_set(captures), found.embed_set(captures)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(
            recogniser.compare(modality, one, one), found.compare(modality, two, two)
        )
    for name in (
        "calibration",
        "thresholds",
        "subjects",
        "settings",
        "limits",
        "preprocess_version",
    ):
        assert getattr(found, name) == getattr(recogniser, name)
    assert found.spec == recogniser.spec
    assert {path.name for path in tmp_path.iterdir()} == {TENSORS, DESCRIPTION}


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_scores(recogniser, sets, tmp_path):
    recogniser.save(tmp_path / "model")
    captures = sets["test"][IRIS]
    np.savez(tmp_path / "in.npz", images=captures.images, masks=captures.masks)
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from biometric_core.recogniser import Recogniser\n"
        "from biometric_core.schemas import Modality\n"
        "r = Recogniser.load(Path('model')); d = np.load('in.npz')\n"
        "e = r.embed(Modality.IRIS, d['images'], d['masks'])\n"
        "np.save('out.npy', r.compare(Modality.IRIS, e, e))\n"
        "assert 'biometric_core.training.fit' not in sys.modules\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env=env)
    vectors = recogniser.embed_set(captures)
    expected = recogniser.compare(IRIS, vectors, vectors)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


def damaged_by(change):
    def apply(folder):
        data = bytearray((folder / TENSORS).read_bytes())
        (folder / TENSORS).write_bytes(change(data))

    return apply


def described(change):
    def apply(folder):
        description = json.loads((folder / DESCRIPTION).read_text())
        change(description)
        (folder / DESCRIPTION).write_text(json.dumps(description))

    return apply


def flipped(data):
    data[len(data) // 2] ^= 1
    return data


@pytest.mark.parametrize(
    "damage",
    [
        damaged_by(flipped),
        damaged_by(lambda data: data[: len(data) // 2]),
        damaged_by(lambda data: b""),
        lambda folder: (folder / TENSORS).unlink(),
        lambda folder: (folder / DESCRIPTION).unlink(),
        lambda folder: (folder / DESCRIPTION).write_text("{"),
        lambda folder: (folder / DESCRIPTION).write_text("[]"),
        described(lambda d: d.pop("calibration")),
        described(lambda d: d.update(format="something else")),
        described(lambda d: d["calibration"]["iris"].update(weight=float("nan"))),
        described(lambda d: d["calibration"].update(voice={"weight": 1})),
        described(lambda d: d["spec"].update(width=16)),
        described(lambda d: d["preprocess"].update(unknown=1)),
    ],
)
def test_a_damaged_recogniser_is_refused(recogniser, tmp_path, damage):
    recogniser.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError):
        Recogniser.load(tmp_path)


@pytest.mark.parametrize("name", [TENSORS, DESCRIPTION])
def test_a_pickle_is_refused_and_not_executed(recogniser, tmp_path, name):
    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    recogniser.save(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ModelError, match="pickle"):
        Recogniser.load(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ModelError, match="pickle"):
        Recogniser.load(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_network_that_gives_nan_is_refused(recogniser, sets, tmp_path):
    recogniser.save(tmp_path)
    broken = Recogniser.load(tmp_path)
    with torch.no_grad():
        next(broken.net.parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="finite"):
        broken.embed_set(sets["test"][IRIS])
    broken.save(tmp_path / "nan")
    with pytest.raises(ModelError, match="finite"):
        Recogniser.load(tmp_path / "nan")


def test_a_model_of_one_modality(sets):
    config = toy_config(epochs=1)
    only = {IRIS: sets["train"][IRIS]}
    found = recogniser_of(fit(only, {}, config), sets["validation"], config)
    assert found.modalities == (IRIS,)
    assert found.calibration[IRIS].fitted
    with pytest.raises(ModelError, match="not fingerprint"):
        found.embed_set(sets["test"][FINGER])


def test_a_recogniser_has_the_shapes_it_was_trained_on_and_leaves_the_rest(recogniser):
    other = load_config("test", {"preprocess": {"iris_shape": [32, 256], "chunk_size": 5}})
    own = with_own_shapes(other, recogniser)
    assert preprocess_version(own) == recogniser.preprocess_version != preprocess_version(other)
    assert own.preprocess.chunk_size == 5
    assert recogniser.prepares_here


def test_what_only_the_code_in_its_bundle_prepares_is_refused_here(recogniser, tmp_path):
    earlier = replace(recogniser, preprocess_version="1-64x512-224x224")
    assert not earlier.prepares_here
    with pytest.raises(ModelError, match="needs captures prepared as 1-64x512-224x224, this code"):
        earlier.acquire(b"any", IRIS)


def test_acquire_refuses_what_is_no_image(recogniser):
    with pytest.raises(CaptureRefused):
        recogniser.acquire(b"no image", IRIS)
    assert set(SHAPES) == set(recogniser.modalities)


def test_galleries_and_samples_are_compared_by_both_encoders(recogniser, sets):
    for modality in Modality:
        captures = sets["validation"][modality]
        rows = [Sample(i, m) for i, m in zip(captures.images[:6], captures.masks[:6], strict=True)]
        embeddings = recogniser.embed_set(captures)
        by_gallery = recogniser.galleries({modality: captures}, {modality: embeddings})[
            modality.value
        ].scores(0, 6)[:, :6]
        scores = recogniser.compare_samples(modality, rows, rows)
        assert scores == pytest.approx(by_gallery, abs=0.01)  # weights of hundreds on float32
        alone = recogniser.compare(modality, embeddings[:6], embeddings[:6])
        assert np.abs(scores - alone).max() > 0.1


def test_without_minutiae_a_finger_is_compared_by_its_embedding_alone(recogniser, sets, tmp_path):
    replace(recogniser, minutiae=False).save(tmp_path)
    without = Recogniser.load(tmp_path)
    assert (recogniser.minutiae, without.minutiae) == (True, False)
    captures = sets["validation"][FINGER]
    rows = [Sample(i, m) for i, m in zip(captures.images[:6], captures.masks[:6], strict=True)]
    embeddings = recogniser.embed_set(captures)[:6]
    alone = recogniser.compare(FINGER, embeddings, embeddings)
    assert without.compare_samples(FINGER, rows, rows) == pytest.approx(alone, abs=0.01)
