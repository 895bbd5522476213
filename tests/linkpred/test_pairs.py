"""Training on edges of one kind: what a step may see, how valid and test are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relgnn.config.ogb import PairSettings
from relgnn.data.ogb import OgbLinks
from relgnn.errors import InputError
from relgnn.linkpred import pairs as module
from relgnn.linkpred.pairs import EdgeTask, PairPredictor
from relgnn.ranking.ogb import OgbEvaluator
from tests.ogb_sets import NODES, across, communities

EDGES = communities()
LINKS = OgbLinks(
    NODES,
    {"train": EDGES[40:], "valid": EDGES[:20], "test": EDGES[20:40]},
    {"valid": across()[::2], "test": across()[1::2]},
)


def task_of(links: OgbLinks = LINKS, **changes: object) -> EdgeTask:
    settings = PairSettings.model_validate({
        "benchmark": "ogbl-ddi", "dim": 8, "dropout": 0.0, "batch_size": 16, **changes
    })  # fmt: skip
    torch.manual_seed(0)
    features = None if links.features is None else torch.from_numpy(links.features)
    model = PairPredictor(links.num_nodes, features, settings)
    return EdgeTask(model, links, settings, OgbEvaluator(settings.benchmark), "pairs")


@pytest.mark.parametrize("fan_out", [None, (50, 50)])
def test_a_step_does_not_see_the_edges_it_asks_for(fan_out: tuple[int, int] | None) -> None:
    """Were they not there at all, its loss would be the same."""
    batch = torch.arange(16)
    rest = replace(LINKS, pairs={**LINKS.pairs, "train": np.delete(EDGES[40:], batch, 0)})
    with_edges, without = task_of(fan_out=fan_out), task_of(rest, fan_out=fan_out)
    asked = torch.from_numpy(EDGES[40:56])
    seen = torch.cat([asked, torch.from_numpy(across()[:16])])

    def encoded(task: EdgeTask, dropped: bool) -> torch.Tensor:
        # nothing is left out of the second's graph: the edges are not in it
        kept = task.kept(batch) if dropped else torch.ones(task.count, dtype=torch.bool)
        vectors = task._model.encode(task.graph.drop(kept))
        return task._model.score(vectors, seen)

    assert torch.allclose(encoded(with_edges, True), encoded(without, False), atol=1e-6)
    assert not torch.allclose(encoded(with_edges, False), encoded(without, False), atol=1e-3)

    dropped = []
    drop = type(with_edges.graph).drop

    def watched(self, keep):  # type: ignore[no-untyped-def]
        graph = drop(self, keep)
        dropped.append(graph)
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(with_edges.graph), "drop", watched)
        nodes = []
        encode = PairPredictor.encode

        def noted(self, graph, chosen=None, degree=None):  # type: ignore[no-untyped-def]
            nodes.append(torch.arange(NODES) if chosen is None else chosen)
            return encode(self, graph, chosen, degree)

        patch.setattr(PairPredictor, "encode", noted)
        with_edges.loss(batch, torch.Generator())
    [graph], [numbers] = dropped, nodes
    carried = graph.weight > 0
    messages = set(zip(numbers[graph.source[carried]].tolist(),
                       numbers[graph.target[carried]].tolist(), strict=True))  # fmt: skip
    forbidden = {pair for a, b in asked.tolist() for pair in ((a, b), (b, a))}
    assert messages and not messages & forbidden


def test_parallel_and_reverse_edges_go_with_an_asked_one() -> None:
    train = np.concatenate([EDGES[40:], EDGES[40:41, ::-1], EDGES[40:41]])
    task = task_of(replace(LINKS, pairs={**LINKS.pairs, "train": train}))
    kept = task.kept(torch.tensor([0]))
    assert (~kept).nonzero().flatten().tolist() == [0, task.count - 2, task.count - 1]
    assert task.kept(torch.tensor([0]), torch.tensor([0, 5])).tolist() == [False, True]


@pytest.mark.parametrize("loss", ["bce", "auc"])
def test_several_pairs_are_drawn_for_each_edge(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(loss=loss, negatives=3)
    drawn = torch.from_numpy(across()[:24])
    asked: list[int] = []

    def sample(count: int, generator: torch.Generator) -> torch.Tensor:
        asked.append(count)
        return drawn

    monkeypatch.setattr(task.negatives, "sample", sample)
    found = task.loss(torch.arange(8), torch.Generator())
    assert asked == [24]
    vectors = task._model.encode(task.graph.drop(task.kept(torch.arange(8))))
    true = task._model.score(vectors, torch.from_numpy(EDGES[40:48]))
    false = task._model.score(vectors, drawn)
    if loss == "auc":
        expected = (1 - true.repeat_interleave(3) + false).square().mean()
    else:
        expected = -true.sigmoid().log().mean() - (-false).sigmoid().log().mean()
    torch.testing.assert_close(found, expected)


def test_hidden_layers_are_dropped_from_in_training_alone() -> None:
    task = task_of(decoder_dropout=0.5)
    pairs, vectors = torch.from_numpy(EDGES[:16]), torch.randn(NODES, 8)
    first, second = (task._model.score(vectors, pairs) for _ in range(2))
    assert not torch.equal(first, second)
    task.model.eval()
    first, second = (task._model.score(vectors, pairs) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_hits_are_of_all_pairs_by_ogbs_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of()
    task.model.eval()
    whole = task.measure("test")
    with torch.no_grad():
        vectors = task._model.encode(task.graph)
        true, false = (
            task._model.score(vectors, torch.from_numpy(x))
            for x in (LINKS.pairs["test"], LINKS.negatives["test"])
        )
    assert whole == float((true > false.sort().values[-20]).float().mean())
    monkeypatch.setattr(module, "SCORED", 7)
    assert task.measure("test") == whole, "in parts as at once"


def test_own_negatives_of_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = LINKS.pairs["valid"]
    # as many as a pair has ends: what tells them from a list of pairs is the metric
    for count in (2, 3):
        own = (valid[:, :1] + 12 + np.arange(count)) % NODES
        links = replace(LINKS, negatives={"valid": own, "test": own})
        task = task_of(links, benchmark="ogbl-citation2", selected_among=5)
        task.model.eval()
        with torch.no_grad():
            vectors = task._model.encode(task.graph)
            scores = vectors @ vectors.T
            every = torch.cartesian_prod(torch.arange(NODES), torch.arange(NODES))
            scores = task._model.score(vectors, every).view(NODES, NODES)
        rows, columns = torch.from_numpy(valid).T
        true, false = scores[rows, columns], scores[rows[:, None], torch.from_numpy(own)]
        each = 1 / (1 + (false > true[:, None]).sum(1))
        assert task.measure("valid") == pytest.approx(float(each.float().mean()), abs=1e-6)
        some = each[[i * len(each) // 5 for i in range(5)]].float().mean()
        assert task.evaluate() == {"mrr": pytest.approx(float(some), abs=1e-6)}
        with monkeypatch.context() as patch:
            patch.setattr(module, "SCORED", 7)
            assert task.measure("valid") == pytest.approx(float(each.float().mean()), abs=1e-6)


def test_features_stand_in_for_learned_vectors() -> None:
    with pytest.raises(InputError, match="pairs.embedding=false: the nodes of ogbl-ddi have no"):
        task_of(embedding=False)
    given = np.random.default_rng(0).normal(size=(NODES, 5)).astype(np.float32)
    task = task_of(replace(LINKS, features=given), embedding=False)
    assert {name.partition(".")[0] for name in task.model.state_dict()} == {
        "vectors", "propagation", "decoder"
    }  # fmt: skip
    assert not any("embedding" in name for name in task.model.state_dict())
    assert torch.isfinite(task.loss(torch.arange(8), torch.Generator()))
