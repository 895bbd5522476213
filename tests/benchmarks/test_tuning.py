"""Both sides of the tuning step take the same batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import tuning


@pytest.fixture
def small(
    shared_data: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("RELGNN_DATA", str(shared_data))
    monkeypatch.setattr(tuning, "PACKAGED", tiny_bert)
    monkeypatch.setattr(tuning, "BATCHES", 2)
    tuning.problem.cache_clear()
    yield monkeypatch
    tuning.problem.cache_clear()


def test_both_sides_take_the_same_batches(small: pytest.MonkeyPatch) -> None:
    from transformers import BertForSequenceClassification

    seen: dict[str, list[torch.Tensor]] = {"ours": [], "peer": []}
    represent, forward = (
        tuning.RelationClassifier.represent, BertForSequenceClassification.forward,
    )  # fmt: skip

    def ours(self, batch, *rest):  # type: ignore[no-untyped-def]
        seen["ours"].append(batch.ids)
        return represent(self, batch, *rest)

    def peer(self, input_ids, **rest):  # type: ignore[no-untyped-def]
        seen["peer"].append(input_ids)
        return forward(self, input_ids=input_ids, **rest)

    small.setattr(tuning.RelationClassifier, "represent", ours)
    small.setattr(BertForSequenceClassification, "forward", peer)
    for side in tuning.BENCH.sides.values():
        call = side()
        call()
        call()
    assert len(seen["ours"]) == len(seen["peer"]) == 2 * tuning.BATCHES
    for left, right in zip(seen["ours"], seen["peer"], strict=True):
        assert torch.equal(left, right) and len(left) == tuning.SIZE
