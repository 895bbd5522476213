"""Co-teaching: who keeps what, and what two students are trained on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from relgnn.config.signals import CoteachingConfig
from relgnn.data import KnowledgeGraph
from relgnn.linkpred.coteaching import CoteachingTask, least
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.fit import new_predictor
from relgnn.linkpred.task import LinkPredictionTask
from tests.linkpred.toy import RUNTIME, taught, toy_config

LOSSES = ("cross_entropy", "bce", "margin", "self_adversarial")


def make_task(
    graph: KnowledgeGraph, features: TextFeatures, *overrides: str, forget: float, ramp: int = 2
) -> CoteachingTask:
    config = toy_config("loop={}", *overrides)
    first, second = (
        new_predictor(config, RUNTIME, graph, features, stream=stream) for stream in "ab"
    )
    known = graph.filter_triples("valid")
    task = LinkPredictionTask(first, taught(graph), graph.valid, known, config)
    return CoteachingTask(task, second, CoteachingConfig(forget=forget, ramp=ramp))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), max_size=12), st.floats(0.01, 1))
def test_all_gold_and_the_likeliest_share_of_the_others_are_kept(
    rows: list[tuple[float, bool]], share: float
) -> None:
    losses = torch.tensor([loss for loss, _ in rows], dtype=torch.float64)
    pseudo = torch.tensor([accepted for _, accepted in rows], dtype=torch.bool)
    kept = least(losses, pseudo, share)
    assert kept[~pseudo].all()
    chosen, left = losses[pseudo & kept], losses[pseudo & ~kept]
    count = int(pseudo.sum())
    assert share * count - 1e-6 <= len(chosen) < share * count + 1
    assert not len(left) or not len(chosen) or chosen.max() <= left.min()
    assert least(losses, pseudo, 1.0).all()


def test_a_share_is_not_rounded_up_by_rounding_errors() -> None:
    losses, pseudo = torch.arange(10.0), torch.ones(10, dtype=torch.bool)
    assert [int(least(losses, pseudo, share).sum()) for share in (1 - 0.3, 0.7, 0.71)] == [7, 7, 8]


def test_the_share_falls_to_one_minus_the_noise(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, forget=0.4, ramp=4)
    shares = [next(iter(task.batches(epoch, draws())))[1] for epoch in range(7)]
    assert shares == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    alone = list(task.students[0].batches(3, draws(5)))
    together = [batch for batch, _ in task.batches(3, draws(5))]
    assert len(alone) == task.num_batches(3)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_forgotten_trains_both_on_everything(
    graph: KnowledgeGraph, features: TextFeatures, loss: str
) -> None:
    task = make_task(graph, features, f"train.loss={loss}", forget=0.0)
    batch, _ = next(iter(task.batches(9, draws())))
    torch.manual_seed(0)
    together = task.loss((batch, 1.0), draws())
    task.model.zero_grad()
    together.backward()
    found = [parameter.grad for parameter in task.model.parameters()]
    task.model.zero_grad()
    torch.manual_seed(0)
    generator = draws()
    seen = [student.see(batch, generator) for student in task.students]
    losses = [s.loss_of(one, generator) for s, one in zip(task.students, seen, strict=True)]
    torch.testing.assert_close(together, losses[0] + losses[1])
    for loss_of_one in losses:
        loss_of_one.backward()
    for parameter, before in zip(task.model.parameters(), found, strict=True):
        torch.testing.assert_close(parameter.grad, before)


def without_noise(*overrides: str) -> tuple[str, ...]:
    return ("gnn.kind=none", "text.feature_dropout=0", *overrides)


@pytest.mark.parametrize("loss", ["cross_entropy", "self_adversarial"])
def test_each_is_trained_on_what_the_other_finds_likely(
    graph: KnowledgeGraph, features: TextFeatures, loss: str
) -> None:
    """A slow reference: targets are sorted by the other's probability, and the rest taken out."""
    task = make_task(graph, features, *without_noise(f"train.loss={loss}"), forget=0.5)
    batch = torch.arange(len(task.students[0].head))
    found = task.loss((batch, 0.5), draws())
    total = torch.zeros(())
    generator = draws()
    seen = [student.see(batch, generator) for student in task.students]
    for me, other in ((0, 1), (1, 0)):
        student, scored = task.students[me], seen[other].scored
        pseudo = student.pseudo.nonzero().flatten().tolist()
        if loss == "cross_entropy":
            p = scored.candidates.softmax(1)[batch, student.tail]
        else:
            p = torch.cat([scored.answer[:, None], scored.candidates], 1).softmax(1)[:, 0]
        likely = p.tolist()
        order = sorted(pseudo, key=lambda row: -likely[row])
        left = order[-(-len(order) // 2) :]
        student.weight = student.weight.clone()
        student.weight[left] = 0
        total = total + student.loss_of(seen[me], generator)
    torch.testing.assert_close(found, total)


def test_no_gradient_through_the_choice_and_none_of_what_is_forgotten(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, *without_noise(), forget=0.9)
    first = task.students[0]
    rows = first.pseudo.nonzero().flatten()[:10]
    loss = task.loss((rows, 0.1), draws())
    loss.backward()
    relation: Tensor | None = first._model.relation.grad
    assert relation is not None
    pulled = set(relation.abs().sum(1).nonzero().flatten().tolist())
    assert len(pulled) == 1 < len(set(first.relation[rows].tolist()))


def test_the_first_student_is_what_valid_ranks_and_both_are_saved(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, forget=0.2)
    assert task.evaluate() == task.students[0].evaluate()
    assert task.evaluate() != task.students[1].evaluate()
    names = set(task.model.state_dict())
    assert {"0.entity", "1.entity"} <= names and len(names) % 2 == 0
    assert task.students[1].graph is task.students[0].graph
