import dataclasses
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from biometric_core.errors import ConfigError, DataError, ModelError
from biometric_core.recogniser.network import TrainingBatch
from biometric_core.recogniser.network.branches import standardise
from biometric_core.schemas import Modality
from biometric_core.training import checkpoint
from biometric_core.training.batches import fetch
from biometric_core.training.checkpoint import FILE_NAME
from biometric_core.training.fit import fit
from biometric_core.training.trainer import Trainer, fit_digest
from biometric_core.training.validation import open_set
from tests.support.toys import toy_config, toy_set, toy_sets

TRAIN, VALIDATION = toy_sets(6), toy_sets(4, first=50)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight():
    return fit(TRAIN, VALIDATION, toy_config(threads=1))


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


TIMES = {"seconds", "samples_per_second", "data_seconds", "data_share"}


def without_time(history):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in history]


class Stop(Exception):
    """Ends a fit from within."""


def stop_after(epoch):
    def on_epoch(number, metrics):
        if number == epoch:
            raise Stop

    return on_epoch


def test_the_history_tells_each_epoch(straight):
    assert [row["epoch"] for row in straight.history] == [1, 2, 3, 4]
    assert straight.epochs_run == 4
    wanted = {"loss", "loss_iris", "loss_fingerprint", "loss_subject", "lr", "seconds"}
    wanted |= {"data_seconds", "data_share"}
    wanted |= {"samples_per_second", "eer_iris", "eer_fingerprint", "separation"}
    assert all(wanted <= row.keys() for row in straight.history)
    best = max(straight.history, key=lambda row: row["separation"])
    assert best["epoch"] == straight.best_epoch


def test_the_best_state_is_what_comes_back(straight):
    figures = open_set(straight.network(), VALIDATION, torch.device("cpu"))
    assert figures["separation"] == pytest.approx(
        straight.history[straight.best_epoch - 1]["separation"], abs=1e-5
    )


def test_the_same_seed_gives_the_same_bits_and_touches_no_global_state(straight):
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    again = fit(TRAIN, VALIDATION, toy_config())
    assert same(straight.state, again.state)
    assert torch.equal(state, torch.random.get_rng_state())
    other = fit(TRAIN, VALIDATION, toy_config(seed=18, epochs=1))
    assert not same(straight.state, other.state)


def test_two_epochs_then_a_stop_then_two_more_equal_four(straight, tmp_path):
    with pytest.raises(Stop):
        fit(TRAIN, VALIDATION, toy_config(), checkpoint_dir=tmp_path, on_epoch=stop_after(2))
    epochs = []
    resumed = fit(
        TRAIN,
        VALIDATION,
        toy_config(),
        checkpoint_dir=tmp_path,
        on_epoch=lambda epoch, metrics: epochs.append(epoch),
    )
    assert epochs == [3, 4]
    assert same(straight.state, resumed.state)
    assert without_time(straight.history) == without_time(resumed.history)


KILLED = """
import os, signal, sys
from pathlib import Path
from biometric_core.training.fit import fit
from tests.support.toys import toy_config, toy_sets
def die(epoch, metrics):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
folder = Path(sys.argv[1])
fit(toy_sets(6), toy_sets(4, first=50), toy_config(), checkpoint_dir=folder, on_epoch=die)
"""


def test_a_killed_process_is_continued_by_another_bit_for_bit(straight, tmp_path):
    path = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert checkpoint.load(tmp_path / FILE_NAME).epochs_run == 2
    resumed = fit(TRAIN, VALIDATION, toy_config(), checkpoint_dir=tmp_path)
    assert same(straight.state, resumed.state)


def test_a_finished_fit_is_not_run_again(straight, tmp_path):
    config = toy_config(epochs=1)
    first = fit(TRAIN, VALIDATION, config, checkpoint_dir=tmp_path)
    second = fit(TRAIN, VALIDATION, config, checkpoint_dir=tmp_path, on_epoch=stop_after(1))
    assert same(first.state, second.state)
    assert second.history == first.history
    with pytest.raises(Stop):
        fit(
            TRAIN,
            VALIDATION,
            config,
            checkpoint_dir=tmp_path,
            resume=False,
            on_epoch=stop_after(1),
        )


@pytest.mark.parametrize("change", ["config", "data"])
def test_a_checkpoint_of_another_fit_is_not_continued(tmp_path, caplog, change):
    config = toy_config(epochs=1)
    fit(TRAIN, VALIDATION, config, checkpoint_dir=tmp_path)
    if change == "config":
        config, train = toy_config(epochs=1, margin=0.1), TRAIN
    else:
        train = toy_sets(6, seed=1)
    fresh = fit(train, VALIDATION, config)
    with caplog.at_level(logging.WARNING):
        found = fit(train, VALIDATION, config, checkpoint_dir=tmp_path)
    assert "another configuration or other data" in caplog.text
    assert same(fresh.state, found.state)


def test_a_pickle_in_the_checkpoint_folder_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / FILE_NAME)
    with pytest.raises(ModelError, match="pickle"):
        fit(TRAIN, VALIDATION, toy_config(), checkpoint_dir=tmp_path)


def test_the_digest_knows_pixels_and_settings_but_not_threads():
    digest = fit_digest(TRAIN, VALIDATION, toy_config())
    assert digest == fit_digest(TRAIN, VALIDATION, toy_config(threads=2, workers=2))
    assert digest != fit_digest(TRAIN, VALIDATION, toy_config(fusion="attention"))
    images = TRAIN[Modality.IRIS].images.copy()
    images[3, 5, 7] ^= 1
    changed = {**TRAIN, Modality.IRIS: dataclasses.replace(TRAIN[Modality.IRIS], images=images)}
    assert digest != fit_digest(changed, VALIDATION, toy_config())


def shuffled_rows(sets, seed):
    rng = np.random.default_rng(seed)
    return {m: found.select(rng.permutation(len(found))) for m, found in sets.items()}


def test_classes_have_the_same_order_whatever_the_order_of_rows(straight):
    other = fit(shuffled_rows(TRAIN, 1), {}, toy_config(epochs=1))
    assert other.subjects == straight.subjects == tuple(sorted(straight.subjects))
    assert other.identities == straight.identities


def test_separable_identities_are_learnt_and_unseen_people_told_apart():
    train = {Modality.IRIS: toy_set(Modality.IRIS, 24, impressions=4, noise=1.0)}
    validation = {Modality.IRIS: toy_set(Modality.IRIS, 10, impressions=4, noise=1.0, first=50)}
    config = toy_config(epochs=8, min_steps=6, width=8, patience=8)
    untrained = open_set(Trainer(train, validation, config).net, validation, torch.device("cpu"))
    fitted = fit(train, validation, config)
    best = fitted.history[fitted.best_epoch - 1]
    assert best["separation_iris"] > untrained["separation_iris"]
    assert best["eer_iris"] < untrained["eer_iris"]
    assert fitted.history[fitted.best_epoch - 1]["eer_iris"] < 0.1


def test_permuted_identities_are_told_apart_by_chance_only():
    def permuted(found, seed):
        order = np.random.default_rng(seed).permutation(len(found))
        return dataclasses.replace(
            found, subject_id=found.subject_id[order], position=found.position[order]
        )

    train = {Modality.IRIS: permuted(toy_set(Modality.IRIS, 12, impressions=4), 1)}
    validation = {Modality.IRIS: permuted(toy_set(Modality.IRIS, 12, impressions=4, first=50), 2)}
    fitted = fit(train, validation, toy_config())
    assert fitted.history[-1]["eer_iris"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("fusion", ["concat", "attention", "weighted_sum"])
def test_one_modality_and_one_impression_are_enough(modality, fusion):
    train = {modality: toy_set(modality, 5, impressions=1)}
    fitted = fit(train, {}, toy_config(epochs=2, fusion=fusion, head="softmax"))
    assert set(fitted.identities) == {modality}
    assert fitted.best_epoch == 1 + int(np.argmin([row["loss"] for row in fitted.history]))


def test_subjects_may_have_different_modalities():
    train = {
        Modality.IRIS: toy_set(Modality.IRIS, 4),
        Modality.FINGERPRINT: toy_set(Modality.FINGERPRINT, 4, first=3, impressions=1),
    }
    fitted = fit(train, {}, toy_config(epochs=1))
    assert len(fitted.subjects) == 7
    assert np.isfinite(fitted.history[0]["loss"])


def test_training_stops_when_nothing_gets_better():
    fitted = fit(TRAIN, VALIDATION, toy_config(epochs=30, patience=2, learning_rate=1e-6))
    assert fitted.epochs_run < 30
    assert fitted.epochs_run == fitted.best_epoch + 2


def test_bfloat16_trains_to_nearly_the_same(straight):
    fitted = fit(TRAIN, VALIDATION, toy_config(precision="bf16"))
    assert all(tensor.dtype != torch.bfloat16 for tensor in fitted.state.values())
    assert fitted.history[-1]["loss"] == pytest.approx(straight.history[-1]["loss"], rel=0.15)


def test_micro_steps_add_up_to_the_gradients_of_the_whole_step():
    def gradients(accumulate):
        trainer = Trainer(TRAIN, {}, toy_config(accumulate=accumulate, learning_rate=1e-9))
        trainer.module.train()
        for module in trainer.net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()  # batch statistics are of a micro-step
        plan, _ = trainer._plan(0)
        parts = [part for rows in plan for part in trainer._parts(rows)]
        batches = iter([still(part, trainer.data) for part in parts])
        _, losses = trainer._step(plan[0], batches)
        return losses, [p.grad for p in trainer.net.parameters() if p.grad is not None]

    whole, parts = gradients(1), gradients(3)
    assert parts[0] == pytest.approx(whole[0], rel=1e-4)
    for one, other in zip(whole[1], parts[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def still(rows, data):
    """A batch without distortions: what is drawn for a part can't be that of the whole."""
    fetched = fetch(rows, data)
    prepared = {m: standardise(m, *found) for m, found in fetched.pixels.items()}
    places = {m: torch.from_numpy(found) for m, found in fetched.places.items()}
    identities = {m: torch.from_numpy(found) for m, found in fetched.identity.items()}
    shown = torch.from_numpy(rows.captures >= 0)
    return TrainingBatch(prepared, places, identities, torch.from_numpy(rows.subject), shown)


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"impressions": 2}, {"shuffle_rows": 8}])
def test_other_ways_through_the_data_train_and_resume_as_well(tmp_path, options):
    config = toy_config(**options)
    straight = fit(TRAIN, VALIDATION, config)
    with pytest.raises(Stop):
        fit(TRAIN, VALIDATION, config, checkpoint_dir=tmp_path, on_epoch=stop_after(2))
    resumed = fit(TRAIN, VALIDATION, config, checkpoint_dir=tmp_path)
    assert same(straight.state, resumed.state)
    assert straight.epochs_run == 4


@pytest.mark.slow
def test_compiled_branches_train_the_same_network_under_the_same_names():
    eyes, others = ({Modality.IRIS: sets[Modality.IRIS]} for sets in (TRAIN, VALIDATION))
    plain = fit(eyes, others, toy_config(epochs=1))
    compiled = fit(eyes, others, toy_config(compile=True, epochs=1))  # most of a minute a branch
    assert compiled.state.keys() == plain.state.keys()
    assert compiled.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-2)


def test_compiling_without_a_compiler_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"training\.compile"):
        fit(TRAIN, VALIDATION, toy_config(compile=True))


def test_too_few_subjects_is_a_clear_error():
    with pytest.raises(DataError, match="3 training subjects"):
        fit(toy_sets(3), {}, toy_config())


def test_a_subject_in_both_sets_is_refused():
    with pytest.raises(DataError, match="2 subjects are in training and validation"):
        fit(toy_sets(6), toy_sets(4, first=4), toy_config())


def test_a_loss_that_is_not_finite_is_a_clear_error():
    with pytest.raises(ModelError, match="not finite"):
        fit(TRAIN, {}, toy_config(scale=1e38, epochs=2))
