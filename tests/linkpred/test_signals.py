"""Signals against their definitions; without weight they are not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from relgnn.config.signals import ConsistencyConfig, NodeAdversarialConfig, ViewContrastConfig
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.signals import (
    SUREST,
    Consistency,
    NodeAdversarial,
    Scored,
    Step,
    ViewContrast,
    distance,
    info_nce,
    make_signals,
)
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from tests.linkpred.toy import RUNTIME, taught, toy_config

SWITCHES = ("train.adversarial={}", "train.contrast={}", "loop.consistency={}")
WEIGHTLESS = (
    "train.adversarial={weight: 0}", "train.contrast={weight: 0}", "loop.consistency={weight: 0}"
)  # fmt: skip
SAMPLED = ("train.loss=self_adversarial", "train.negative_sampler=typed")


def make_task(
    graph: KnowledgeGraph,
    features: TextFeatures,
    *overrides: str,
    supervision: Supervision | None = None,
) -> LinkPredictionTask:
    config = toy_config("loop={}", *overrides)
    model = new_predictor(config, RUNTIME, graph, features)
    return LinkPredictionTask(
        model, supervision or taught(graph), graph.valid, graph.filter_triples("valid"), config
    )


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(**given: Any) -> Step:
    nothing = torch.zeros(0)
    empty = Scored(None, (nothing, nothing, nothing), lambda: (nothing, nothing))
    base = Step(
        nothing, empty, nothing, None, lambda x: x, lambda nodes, share: nodes, 0, draws()
    )  # fmt: skip
    return replace(base, **given)


def test_fgm_moves_every_node_up_the_loss_by_its_length() -> None:
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0]], requires_grad=True)
    slope = torch.tensor([[0.0, 2.0], [-3.0, 4.0], [0.0, 0.0]])

    def loss(at: Tensor) -> Tensor:
        return (slope * at).sum()

    seen = []
    signal = NodeAdversarial(NodeAdversarialConfig(epsilon=0.1, weight=0.5))
    value = signal(
        step(x=x, loss=loss(x), moved=lambda moved: (seen.append(moved), loss(moved))[1])
    )
    expected = torch.tensor([[3.0, 4.5], [1 - 0.06, 0.08], [2.0, 2.0]])
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(value, 0.5 * loss(expected))


@pytest.mark.parametrize("sampled", [(), SAMPLED, (*SAMPLED, "gnn.fan_out=[2]")])
def test_the_loss_rises_where_fgm_goes(
    graph: KnowledgeGraph, features: TextFeatures, sampled: tuple[str, ...]
) -> None:
    task = make_task(graph, features, *sampled, "train.adversarial={epsilon: 0.02}")
    task.model.eval()
    batch = torch.arange(20)
    seen = task.see(batch, draws())
    plain = task._supervised(seen.scored, batch, task.weight[batch])
    with_signal = task.loss_of(seen, draws())
    assert with_signal > 2 * plain > 0


def test_info_nce() -> None:
    similarity = torch.randn(4, 4, generator=draws())
    total = torch.zeros(())
    for i in range(4):
        for line in (similarity[i], similarity[:, i]):
            total = total - torch.log(line[i].exp() / line.exp().sum())
    torch.testing.assert_close(info_nce(similarity), total / 8)


def test_views_of_drawn_nodes_are_contrasted() -> None:
    table = torch.randn(9, 3, generator=draws(1))
    asked: list[tuple[Tensor, float]] = []

    def view(nodes: Tensor, share: float) -> Tensor:
        asked.append((nodes, share))
        return table[nodes] + len(asked)

    settings = ViewContrastConfig(nodes=5, temperature=0.5, weight=2.0, edge_dropout=0.4)
    value = ViewContrast(settings)(step(view=view, num_nodes=9))
    nodes = asked[0][0]
    assert torch.equal(nodes, asked[1][0]) and [share for _, share in asked] == [0.4, 0.4]
    assert len(nodes) == 5 and len(nodes.unique()) == 5
    one, other = (functional.normalize(table[nodes] + add, dim=1) for add in (1, 2))
    torch.testing.assert_close(value, 2 * info_nce(one @ other.T / 0.5))


def test_the_view_of_a_node_has_its_own_share_of_dropped_edges(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    overrides = ("gnn.edge_dropout=0.5", "gnn.target_dropout=0", "text.feature_dropout=0")
    calm = make_task(graph, features, *overrides, "train.contrast={edge_dropout: 0, weight: 1}")
    wild = make_task(graph, features, *overrides, "train.contrast={edge_dropout: 0.9, weight: 1}")
    batch = torch.arange(10)
    extra = []
    for task in (calm, wild):
        seen = task.see(batch, draws())
        plain = task._supervised(seen.scored, batch, task.weight[batch])
        extra.append((task.loss_of(seen, draws()) - plain).item())
    # views without a dropped edge are both the whole context
    x = calm._model.encode(calm.graph)[0]
    same = functional.normalize(x, dim=1)
    assert extra[0] == pytest.approx(info_nce(same @ same.T / 0.2).item(), rel=1e-4)
    assert abs(extra[1] - extra[0]) > 1e-3


def test_log_odds_are_of_the_answer_against_the_others() -> None:
    scores, tails = torch.randn(3, 5, generator=draws()), torch.tensor([2, 0, 4])
    p = scores.softmax(1)[torch.arange(3), tails]
    vectors, answer = (scores, scores, scores), scores[torch.arange(3), tails]
    whole = Scored(tails, vectors, lambda: (scores, answer)).log_odds()
    torch.testing.assert_close(whole, p.logit())
    others = torch.stack(
        [torch.cat([s[:t], s[t + 1 :]]) for s, t in zip(scores, tails, strict=True)]
    )
    drawn = Scored(None, vectors, lambda: (others, answer)).log_odds()
    torch.testing.assert_close(whole, drawn)


@pytest.mark.parametrize("kind", ["kl", "logit"])
@given(p=st.floats(1 - SUREST, SUREST), q=st.floats(0.01, 0.99))
def test_distance(kind: str, p: float, q: float) -> None:
    text, graph = torch.tensor([p], dtype=torch.float64), torch.tensor([q], dtype=torch.float64)
    found = distance(graph.logit(), text, kind)
    if kind == "kl":
        both = [torch.stack([x, 1 - x]) for x in (text, graph)]
        kl = [(a * (a / b).log()).sum() for a, b in (both, both[::-1])]
        expected = (kl[0] + kl[1]) / 2
    else:
        expected = (graph.logit() - text.logit()).square().sum()
    torch.testing.assert_close(found.sum(), expected)
    assert distance(text.logit(), text, kind).abs() < 1e-12 <= found + 1e-12


@pytest.mark.parametrize("kind", ["kl", "logit"])
def test_consistency_is_nothing_where_both_agree_or_the_text_is_silent(kind: str) -> None:
    scores = torch.randn(3, 6, generator=draws()).requires_grad_()
    tails = torch.tensor([1, 2, 3])
    answer = scores[torch.arange(3), tails]
    scored = Scored(tails, (scores, scores, scores), lambda: (scores, answer))
    signal = Consistency(ConsistencyConfig(kind=kind, weight=2.0))  # type: ignore[arg-type]
    agreed = scored.log_odds().sigmoid().detach()
    assert signal(step(scored=scored, p_text=agreed)).abs() < 1e-6
    silent = torch.full((3,), torch.nan)
    nothing = signal(step(scored=scored, p_text=silent))
    assert nothing == 0
    nothing.backward()
    assert scores.grad is not None and not scores.grad.any()
    one = silent.clone()
    one[1] = 0.5
    value = signal(step(scored=scored, p_text=one))
    torch.testing.assert_close(
        value, 2 * distance(scored.log_odds()[1], torch.tensor(0.5), kind) / 3
    )


def test_consistency_learns_its_calibration_and_moves_the_graph() -> None:
    """Planted: the graph's log odds are those of the text, stretched and shifted."""
    text = torch.linspace(0.05, 0.95, 30)
    scores = torch.stack([2 * text.logit() + 1, torch.zeros(30)], 1).requires_grad_()
    scored = Scored(
        torch.zeros(30, dtype=torch.int64), (scores,) * 3, lambda: (scores, scores[:, 0])
    )
    signal = Consistency(ConsistencyConfig(kind="logit", weight=1.0))
    optimizer = torch.optim.Adam(signal.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        value = signal(step(scored=scored, p_text=text))
        value.backward(retain_graph=True)
        optimizer.step()
    assert value < 1e-4
    assert signal.log_scale.exp().item() == pytest.approx(0.5, abs=0.01)
    assert signal.offset.item() == pytest.approx(-0.5, abs=0.02)
    scores.grad = None
    signal(step(scored=scored, p_text=torch.full((30,), 0.99))).backward()
    assert (scores.grad[:, 0] < 0).all()  # type: ignore[index]


def test_only_signals_with_a_weight_and_something_to_say_are_made() -> None:
    text = torch.tensor([0.5, torch.nan])
    every = toy_config("loop={}", *SWITCHES)
    kinds = [type(signal) for signal in make_signals(every, text)]
    assert kinds == [NodeAdversarial, ViewContrast, Consistency]
    assert not make_signals(toy_config("loop={}", *WEIGHTLESS), text)
    for silent in (None, torch.full((2,), torch.nan)):
        assert [type(s) for s in make_signals(every, silent)] == kinds[:2]
    assert not make_signals(toy_config(), text)


@pytest.mark.parametrize("sampled", [(), SAMPLED, (*SAMPLED, "gnn.fan_out=[2]")])
def test_weight_zero_is_as_if_absent_bit_for_bit(
    graph: KnowledgeGraph, features: TextFeatures, sampled: tuple[str, ...]
) -> None:
    found = []
    for overrides in ((), WEIGHTLESS):
        task = make_task(graph, features, *sampled, *overrides)
        generator = draws()
        torch.manual_seed(0)
        losses = [task.loss(torch.arange(i, i + 8), generator) for i in (0, 8)]
        assert isinstance(task.model, type(task._model))
        found.append(([loss.item() for loss in losses], generator.get_state()))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["rgcn", "compgcn", "attention"])
@pytest.mark.parametrize("sampled", [(), SAMPLED, (*SAMPLED, "gnn.fan_out=[2]")])
def test_all_signals_together_train(
    graph: KnowledgeGraph, features: TextFeatures, kind: str, sampled: tuple[str, ...]
) -> None:
    task = make_task(graph, features, *SWITCHES, *sampled, f"gnn.kind={kind}")
    optimizer = torch.optim.Adam(task.model.parameters(), lr=0.02)
    assert len(list(task.model.parameters())) == 2 + len(list(task._model.parameters()))
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = task.loss(torch.arange(len(task.head)), draws())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_target_that_is_left_out_has_no_say_of_the_text(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, "loop.consistency={weight: 3}")
    batch = (~task.pseudo).nonzero().flatten()[:4]
    accepted = task.pseudo.nonzero().flatten()[:4]
    both = torch.cat([batch, accepted])
    task.model.eval()
    seen = task.see(both, draws())
    kept = ~task.pseudo[both]
    alone = task._supervised(seen.scored, both, task.weight[both] * kept)
    assert torch.equal(task.loss_of(seen, draws(), kept), alone)
    assert task.loss_of(seen, draws()) > alone
