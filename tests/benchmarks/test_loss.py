"""What the loss is held against gives the same gradients."""

from __future__ import annotations

import pytest

from benchmarks import loss
from tests.linkpred.toy import toy_graph


def test_all_sides_have_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "load", lambda name: toy_graph())
    last = {name: side()() for name, side in loss.BENCH.sides.items()}
    said = loss.same_gradients(last)
    assert len(said) == 3
    assert said[2].startswith("gradients of ours:")
    assert "equal within 0.0001" in said[2]
    assert not loss.same_gradients({"ours": last["ours"]})
