import logging

from biometric_core.parallel import progress


def test_every_item_passes_in_order_and_lines_are_logged(caplog, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_EVERY_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        assert list(progress.track(range(3), total=3, description="work")) == [0, 1, 2]
    assert "work: 3 of 3" in caplog.text


def test_an_unknown_total_is_allowed(caplog):
    assert list(progress.track(iter("ab"), total=None, description="work")) == ["a", "b"]
