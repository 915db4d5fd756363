import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from biometric_core.evaluation.cards import ModelFacts, model_card, performance_card
from biometric_core.reporting.page import page
from biometric_core.reporting.words import label, number, reason_label, with_interval


def figures(eer=0.021, **more):
    return {
        "eer": eer,
        "fnmr_at_fmr_0.01": 0.05,
        "fnmr_at_fmr_0.001": None,
        "rank1": 0.98,
        "auc": 0.99,
        "cllr": 0.1,
        "n_mated": 1234,
        "n_non_mated": 56789,
        "n_subjects": 30,
        "intervals": {"eer": [0.01, 0.034], "fnmr_at_fmr_0.001": None},
        **more,
    }


@pytest.fixture
def values():
    group = {"fnmr": 0.1, "fmr": 0.01, "eer": 0.04, "intervals": {"eer": [0.02, 0.06]}}
    counts = {"n_subjects": 9, "n_mated": 20, "n_non_mated": 300}
    return {
        "iris": figures(),
        "fingerprint": None,
        "fused": figures(0.003),
        "fused_feature_attention": figures(0.05, cllr=None),
        "iris_phase_code": figures(0.017),
        "something_new": {"share": 0.25},
        "closed_set": None,
        "latency": {"p50_ms": 12.25, "p95_ms": 20.0, "captures": 23},
        "fta": {
            "iris": {"captures": 200, "failed": 3, "rate": 0.015, "reasons": {"no_pupil": 3}},
            "fingerprint": None,
        },
        "groups": {"iris": {"sex": None, "position": {"left": {**group, **counts}}}},
        "quality": {"iris": {"threshold_fmr": 0.01, "fnmr_discard_0.2": 0.034, "bins": []}},
        "reasons": {
            "fingerprint": "no identity has two captures",
            "iris.fnmr_at_fmr_0.001": "too few non-mated pairs",
            "groups.iris.sex": "the source does not say it",
            "closed_set": "nobody was kept out",
        },
        "release": {"ok": False, "reasons": ["failed: iris EER is 0.2 <b>"]},
    }


VOID = ("meta", "img", "br", "hr", "link")


class Parsed(HTMLParser):
    """Tags, sources of pictures and text of a page; refuses tags that are left open."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / name for name in ("det.png", "scores_iris.png", "unheard_of.png")]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    return paths


def test_a_card_shows_everything_that_is_there(values, pictures, tmp_path):
    facts = {"model": "run 123", "git commit": None}
    markdown, html = performance_card(tmp_path, values, pictures, facts)
    text = markdown.read_text()
    assert "| iris | 2.10 % (1.00 to 3.40) | 5.00 % |" in text
    assert "– (too few non-mated pairs)" in text
    assert "| fingerprint | not measured: no identity has two captures |" in text
    assert text.index("Headline") < text.index("Each modality") < text.index("measured\n")
    assert "fused feature attention" in text
    assert "| share | 0.25 |" in text, "values of unknown names are not lost"
    assert "iris phase code" in text
    assert "3 (1.50 %)" in text
    assert "no pupil 3" in text
    assert "| left | 4.00 % (2.00 to 6.00) | 10.00 % | 1.00 % | 9 | 20 | 300 |" in text
    assert "20 % discarded" in text
    assert "groups, iris, sex: the source does not say it" in text
    assert "Release thresholds fail" in text
    assert "| git commit | not known |" in text
    assert all(f"]({picture.name})" in text for picture in pictures)
    assert "None" not in text
    page_text = html.read_text()
    parsed = Parsed(page_text)
    assert len(parsed.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert "prefers-color-scheme: dark" in page_text
    assert "b" not in parsed.tags, "text is never interpreted as HTML"
    assert parsed.tags.count("table") == len(re.findall(r"^\|[ |-]*--- \|$", text, re.M))


def test_a_cross_validation_has_a_table_of_folds(values, tmp_path):
    main = {"iris": figures(), "fingerprint": None, "reasons": {"fingerprint": "one capture each"}}
    folds = [{"iris": figures(eer), "reasons": {}, "test_subjects": 10} for eer in (0.01, 0.03)]
    result = {
        "folds": folds,
        "mean": main,
        "protocol": {"folds": 2, "captures": {"iris": 300}, "seconds": 12.5},
        "groups": values["groups"],
        "reasons": {"groups.iris.sex": "the source does not say it"},
    }
    text = performance_card(tmp_path, result, [], {})[0].read_text()
    assert "| 1 | 1.00 % " in text
    assert "| 2 | 3.00 % " in text
    assert "not measured: one capture each" in text
    assert "groups, iris, sex" in text
    assert "| captures | iris 300 |" in text
    assert "by eye or finger" in text


def test_an_evaluation_of_nothing_is_still_a_card(tmp_path):
    nothing = {"iris": None, "fused": None, "reasons": {"iris": "no captures"}}
    text = performance_card(tmp_path, nothing, [], {})[0].read_text()
    assert "not measured: no captures" in text
    assert "not measured: no reason is known" in text


def test_cells_stay_in_their_column(tmp_path):
    values = {"iris": None, "reasons": {"iris": "a | b\nc"}}
    text = performance_card(tmp_path, values, [], {})[0].read_text()
    assert "a \\| b c" in text


def test_words():
    assert label("fnmr_at_fmr_0.001") == "FNMR at FMR 0.1 %"
    assert label("never_heard_of") == "never heard of"
    assert reason_label("iris.fnmr_at_fmr_0.001") == "iris, FNMR at FMR 0.1 %"
    assert number("eer", 0.0312) == "3.12 %"
    assert number("n_mated", 12345) == "12,345"
    assert number("seconds", 1234.5) == "1234"
    assert number("eer", None) == "–"
    assert with_interval("eer", {"eer": None, "intervals": {"eer": None}}) == "–"


def test_a_page_without_its_picture_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        page("![x](missing.png)", "t", tmp_path)


def test_the_model_card_has_the_fields_of_mitchell(values):
    thresholds = {"iris": {0.01: 1.5, 0.001: 4.25}, "fused": {0.01: 2.0}}
    facts = ModelFacts({"model": "run 7", "git commit": None}, {"subjects": "20"}, thresholds, "7")
    text = model_card(values, facts)
    for heading in (
        "Model details",
        "Intended use",
        "Out of scope",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
        "How to reproduce",
    ):
        assert f"\n## {heading}\n" in text
    assert "| iris | 1.500 | 4.250 |" in text
    assert "| fused (sum of log-likelihood ratios) | 2.000 | – |" in text
    assert "| iris | 2.10 % (1.00 to 3.40) |" in text
    assert "| subjects | 20 |" in text
    assert "--run-id 7" in text
    assert "None" not in text


def test_a_model_without_thresholds_says_so(values):
    text = model_card(values, ModelFacts({}, {}, {"iris": {}}, "7"))
    assert "too few comparisons" in text
