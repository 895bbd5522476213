"""One fit: repeatable, resumable, selected by valid or not at all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import Fitted, fit_predictor, new_predictor
from relgnn.linkpred.task import LinkPredictionTask, Supervision
from relgnn.runtime import Runtime
from relgnn.training.interrupt import Interrupted
from tests.linkpred.toy import RUNTIME, toy_config, toy_graph


def fit(
    graph: KnowledgeGraph,
    features: TextFeatures,
    *overrides: str,
    runtime: Runtime = RUNTIME,
    **options: object,
) -> Fitted:
    config = toy_config(*overrides)
    gold = Supervision.gold(graph.train)
    return fit_predictor(config, runtime, graph, features, gold, name="toy", **options)  # type: ignore[arg-type]


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def equal(one: Fitted, other: Fitted) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_same_seed_gives_the_same_weights(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    torch.manual_seed(1)
    one = fit(graph, features)
    torch.manual_seed(2)
    assert equal(one, fit(graph, features))
    other = Runtime(1, torch.device("cpu"), "fp32", "fp32", 1, True)
    assert not equal(one, fit(graph, features, runtime=other))


def test_initialisation_leaves_the_default_generator_alone(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    before = torch.get_rng_state()
    one = new_predictor(toy_config(), RUNTIME, graph, features)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.entity, new_predictor(toy_config(), RUNTIME, graph, features).entity)


def test_without_patience_valid_is_never_looked_at(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: LinkPredictionTask) -> dict[str, float]:
        raise AssertionError("valid was read")

    monkeypatch.setattr(LinkPredictionTask, "evaluate", never)
    one = fit(graph, features, "train.patience=null")
    elsewhere = toy_graph()
    object.__setattr__(elsewhere, "valid", graph.valid[:1])
    assert equal(one, fit(elsewhere, features, "train.patience=null"))


def test_without_valid_triples_all_epochs_are_trained(
    graph: KnowledgeGraph, features: TextFeatures, tmp_path: Path
) -> None:
    bare = toy_graph()
    object.__setattr__(bare, "valid", np.empty((0, 3), dtype=np.int64))
    fit(bare, features, log=tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]


def test_known_filters_valid_for_a_model_that_must_not_know_all(
    graph: KnowledgeGraph, features: TextFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    before = LinkPredictionTask.evaluate

    def spy(self: LinkPredictionTask) -> dict[str, float]:
        seen.append(len(self.filter.tails))
        return before(self)

    monkeypatch.setattr(LinkPredictionTask, "evaluate", spy)
    fit(graph, features, "train.epochs=1")
    fit(graph, features, "train.epochs=1", known=graph.valid)
    assert seen[0] == 2 * (len(graph.train) + len(graph.valid))
    assert seen[1] == 2 * len(graph.valid)


def test_test_triples_change_nothing(graph: KnowledgeGraph, features: TextFeatures) -> None:
    blind = toy_graph()
    for split in ("test", "hidden"):
        object.__setattr__(blind, split, np.empty((0, 3), dtype=np.int64))
    assert equal(fit(graph, features), fit(blind, features))


def test_a_resumed_fit_equals_an_uninterrupted_one(
    graph: KnowledgeGraph,
    features: TextFeatures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = ("gnn.dropout=0.2", "train.patience=6")
    whole = fit(graph, features, *overrides)
    before, calls = LinkPredictionTask.loss, []

    def stop_at_fourth(
        self: LinkPredictionTask, batch: Tensor, generator: torch.Generator
    ) -> Tensor:
        calls.append(0)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self, batch, generator)

    monkeypatch.setattr(LinkPredictionTask, "loss", stop_at_fourth)
    with pytest.raises(Interrupted, match="relgnn run --resume here"):
        fit(
            graph, features, *overrides, folder=tmp_path,
            resume_command="relgnn run --resume here",
        )  # fmt: skip
    resumed = fit(graph, features, *overrides, folder=tmp_path, resume=True)
    assert equal(whole, resumed)
    assert len(calls) == 8


def test_a_warm_start_goes_on_from_given_weights(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    first = fit(graph, features, "train.patience=null")
    tiny = ("train.epochs=1", "train.lr=1.0e-9", "train.patience=null")
    second = fit(graph, features, *tiny, start=weights(first))
    torch.testing.assert_close(second.model.entity, first.model.entity)
    assert not torch.allclose(fit(graph, features, *tiny).model.entity, first.model.entity)
