"""Losses of accepted targets: gold keeps the plain one, and false targets pull less."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import fit_predictor, new_predictor
from relgnn.linkpred.supervision import Supervision
from relgnn.linkpred.task import LinkPredictionTask
from tests.linkpred.toy import KNOWS, RUNTIME, taught, toy_config


def make_task(graph: KnowledgeGraph, features: TextFeatures, *overrides: str) -> LinkPredictionTask:
    config = toy_config("loop={}", *overrides)
    model = new_predictor(config, RUNTIME, graph, features).eval()
    known = graph.filter_triples("valid")
    return LinkPredictionTask(model, taught(graph), graph.valid, known, config)


def gradients(task: LinkPredictionTask, batch: Tensor) -> Tensor:
    task.loss(batch, torch.Generator().manual_seed(0)).backward()
    return torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    "words",
    [
        ("loop.pseudo_loss=gce", "loop.gce_q=1.0e-9"),
        ("loop.pseudo_loss=bootstrap", "loop.bootstrap_beta=1.0"),
    ],
)
def test_robust_losses_have_plain_limits(
    graph: KnowledgeGraph, features: TextFeatures, words: tuple[str, ...]
) -> None:
    robust, plain = (make_task(graph, features, *more) for more in (words, ()))
    batch = torch.arange(0, len(plain.head), 2)
    torch.testing.assert_close(
        gradients(robust, batch), gradients(plain, batch), atol=2e-6, rtol=1e-3
    )


def test_gold_keeps_the_plain_loss(graph: KnowledgeGraph, features: TextFeatures) -> None:
    """A batch's loss is plain of gold and robust of accepted targets."""
    plain, gce, boot = (
        make_task(graph, features, f"loop.pseudo_loss={kind}")
        for kind in ("plain", "gce", "bootstrap")
    )
    batch = torch.arange(60)
    scored = plain.see(batch, torch.Generator().manual_seed(0)).scored
    accepted = plain.pseudo[batch]
    assert accepted.any() and not accepted.all()
    for task in (gce, boot):
        on_gold, on_accepted = ((~accepted).float(), accepted.float())
        same, other = (task._supervised(scored, batch, w) for w in (on_gold, on_accepted))
        torch.testing.assert_close(same, plain._supervised(scored, batch, on_gold))
        assert not torch.allclose(other, plain._supervised(scored, batch, on_accepted))


def test_false_accepted_targets_pull_less_under_generalised_cross_entropy(
    graph: KnowledgeGraph,
) -> None:
    """Planted: pairs that are given one way round; accepted are the other way round, which a
    symmetric decoder knows, and two in five are false."""
    people = torch.arange(20)
    given = torch.stack([people, torch.full((20,), KNOWS), (people + 1) % 20], 1)
    true = given[:18, [2, 1, 0]]
    false = torch.stack([people, torch.full((20,), KNOWS), (people + 7) % 20], 1)[:12]
    pseudo = torch.arange(50) >= 20
    ones = torch.ones(50)
    targets = torch.cat([given, true, false])
    supervision = Supervision(targets, ones, targets, ones, pseudo=pseudo)
    quiet = ("gnn.kind=none", "train.label_smoothing=0", "train.patience=null")
    model = fit_predictor(
        toy_config("train.epochs=60", "decoder.dim=32", *quiet), RUNTIME, graph, None,
        supervision.given(), name="toy",
    ).model  # fmt: skip
    shares = {}
    for q in ("plain", 0.4, 0.7, 1.0):
        words = ["loop.pseudo_loss=gce", f"loop.gce_q={q}"] if q != "plain" else []
        config = toy_config("loop={}", *quiet, *words)
        task = LinkPredictionTask(model, supervision, graph.valid, graph.valid, config)
        batch = torch.arange(len(task.head))
        scored = task.see(batch, torch.Generator().manual_seed(0)).scored
        # the pull of each query is the gradient of its scores
        scored = replace(scored, products=None)
        loss = task._supervised(scored, batch, task.weight)
        (gradient,) = torch.autograd.grad(loss, scored.candidates)
        pull = gradient.norm(dim=1).view(2, -1).sum(0)
        shares[q] = float(pull[38:].sum() / pull[20:].sum())
    assert shares["plain"] > shares[0.4] > shares[0.7] > shares[1.0]
    assert shares[0.7] < shares["plain"] / 2
