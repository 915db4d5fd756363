import cv2
import numpy as np
import pytest

from biometric_core.evaluation import plots
from biometric_core.matching.comparisons import Comparisons


def comparisons(shift, mated_share=0.1, n=500):
    rng = np.random.default_rng(0)
    mated = np.arange(n) < mated_share * n
    names = np.array(["a", "b"])
    index = np.zeros(n, np.int64)
    return Comparisons(rng.normal(shift * mated, 1), mated, index, index + 1, names, names)


def pixels(path):
    image = cv2.imread(str(path))
    assert image is not None
    assert image.std() > 1
    return image


def test_det_draws_a_better_curve_lower(tmp_path):
    found = {"good": comparisons(4), "bad": comparisons(1)}
    one = pixels(plots.det({"good": found["good"]}, tmp_path / "one.png"))
    two = pixels(plots.det(found, tmp_path / "two.png"))
    assert one.shape == two.shape
    assert (one != two).any()


def test_perfect_and_reversed_scores_can_be_drawn(tmp_path):
    for name, shift in (("perfect", 60), ("reversed", -60)):
        pixels(plots.det({name: comparisons(shift)}, tmp_path / f"{name}.png"))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_kind_of_comparison_has_scores_but_no_det(tmp_path, share):
    found = comparisons(1, mated_share=share)
    assert plots.det({"iris": found}, tmp_path / "det.png") is None
    assert not (tmp_path / "det.png").exists()
    pixels(plots.score_distributions("iris", found, tmp_path / "scores.png"))


def test_nothing_to_draw(tmp_path):
    empty = comparisons(1, n=0)
    assert plots.score_distributions("iris", empty, tmp_path / "s.png") is None
    assert plots.cumulative_match({"iris": np.zeros(0, np.int64)}, tmp_path / "c.png") is None
    assert plots.det({}, tmp_path / "d.png") is None


def test_constant_scores_can_be_drawn(tmp_path):
    found = comparisons(1)
    flat = Comparisons(**{**vars(found), "scores": np.ones(len(found))})
    pixels(plots.score_distributions("iris", flat, tmp_path / "s.png"))
    pixels(plots.det({"iris": flat}, tmp_path / "d.png"))


def test_cumulative_match_and_confusion(tmp_path):
    pixels(plots.cumulative_match({"iris": np.array([1, 1, 2, 50])}, tmp_path / "c.png"))
    pixels(plots.confusion(np.array([[3, 1], [0, 0]]), tmp_path / "m.png"))


def test_the_same_figures_give_the_same_file(tmp_path):
    found = {"iris": comparisons(2)}
    one, two = (plots.det(found, tmp_path / name).read_bytes() for name in ("1.png", "2.png"))
    assert one == two
