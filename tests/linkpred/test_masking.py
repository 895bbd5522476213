"""What a training step may see of its own targets: neither their edges nor their sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.features import TextFeatures
from relgnn.linkpred.supervision import Supervision
from tests.linkpred.tasks import CALM, make_task, training_graph, with_evidence


def silent(graph: MessageGraph) -> list[int]:
    """Edges whose evidence is masked."""
    assert graph.evidence is not None and graph.evidence_index is not None
    return (graph.evidence_index == len(graph.evidence)).nonzero().flatten().tolist()


def test_a_targets_own_edge_goes_and_its_evidence_too(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, "gnn.target_dropout=1", "gnn.edge_dropout=0")
    given = len(graph.train)
    seen = training_graph(task, [2, given + 5])
    assert (seen.edge_weight == 0).nonzero().flatten().tolist() == [2, 5]
    assert silent(seen) == [2, 5]


def test_evidence_is_masked_even_where_the_edge_stays(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, "gnn.target_dropout=0", "gnn.edge_dropout=0")
    seen = training_graph(task, [2])
    assert (seen.edge_weight == 1).all()
    assert silent(seen) == [2]
    assert (task.graph.edge_weight == 1).all() and not silent(task.graph)


def test_other_edges_and_their_evidence_are_dropped_at_random(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(graph, features, "gnn.target_dropout=0", "gnn.edge_dropout=0.5")
    seen = training_graph(task, [0])
    dropped = set((seen.edge_weight == 0).nonzero().flatten().tolist())
    mute = set(silent(seen))
    assert 4 < len(dropped) < 22 and 4 < len(mute) < 22
    assert dropped != mute


def test_a_target_that_carries_no_message_masks_nothing(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    gold = Supervision.gold(graph.train)
    supervision = replace(gold, context=gold.context[5:], context_weight=torch.ones(21))
    task = make_task(
        graph, features, "gnn.target_dropout=1", "gnn.edge_dropout=0", supervision=supervision
    )
    assert (training_graph(task, [0, 1]).edge_weight == 1).all()
    assert (training_graph(task, [5]).edge_weight == 0).nonzero().flatten().tolist() == [0]


def test_a_target_is_no_edge_however_often_it_was_said(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    """As where a control moves an accepted triple to a given one."""
    gold = Supervision.gold(graph.train)
    supervision = replace(
        gold, context=torch.cat([gold.context, gold.context[3:4]]), context_weight=torch.ones(27)
    )
    changes = ("gnn.target_dropout=1", "gnn.edge_dropout=0")
    seen = training_graph(make_task(graph, features, *changes, supervision=supervision), [3])
    assert (seen.edge_weight == 0).nonzero().flatten().tolist() == [3, 26]


def test_the_answer_cannot_be_read_from_the_targets_evidence(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    """Planted: the loss of a batch is the same whatever its own targets' evidence says."""
    losses = []
    for value in (1.0, -3.0):
        supervision = with_evidence(graph)
        assert supervision.evidence is not None
        supervision.evidence[4] = value
        task = make_task(graph, features, *CALM, supervision=supervision)
        task.model.eval()
        # Edge coefficients start without a say of the evidence.
        with torch.no_grad():
            for name, parameter in task.model.named_parameters():
                if name.endswith("text.q"):
                    parameter.fill_(0.1)
        own, others = torch.tensor([4]), torch.tensor([5, 6])
        generator = torch.Generator()
        losses.append(
            [task.loss(batch, generator.manual_seed(0)).item() for batch in (own, others)]
        )
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


@pytest.mark.parametrize("part", [False, True], ids=["whole", "drawn"])
def test_evidence_is_masked_of_all_edges_of_a_pair(
    part: bool, graph: KnowledgeGraph, features: TextFeatures
) -> None:
    """A connected pair has an edge beside the accepted one, in either direction, of the same
    sentences; and an edge of others has not."""
    gold = with_evidence(graph)
    head, relation, tail = graph.train[4].tolist()
    other = (relation + 1) % graph.num_relations
    beside = torch.tensor([[head, other, tail], [tail, other, head]])
    supervision = replace(
        gold,
        context=torch.cat([gold.context, beside]),
        context_weight=torch.ones(len(gold.context) + 2),
        evidence=torch.ones(len(gold.context) + 2, 16),
    )
    pairs = {tuple(sorted((h, t))) for h, _, t in graph.train[[4, 7]].tolist()}
    own = [
        row
        for row, (h, _, t) in enumerate(supervision.context.tolist())
        if tuple(sorted((h, t))) in pairs
    ]
    assert {4, 7, len(gold.context), len(gold.context) + 1} <= set(own)
    changes = ["gnn.evidence_mask=pair", "gnn.target_dropout=0", "gnn.edge_dropout=0"]
    if part:
        changes += ["gnn.fan_out=[1000]", "train.loss=margin"]
    task = make_task(graph, features, *changes, supervision=supervision)
    batch, given = torch.tensor([4, len(graph.train) + 7]), torch.Generator().manual_seed(0)
    if part:
        assert task.sampler is not None
        drawn = task.sampler.sample(task.head[batch].unique(), given)
        seen = task._training_graph(batch, given, drawn)
        assert seen is not None
        shown = drawn.edges[torch.tensor(silent(seen))]
        assert sorted(shown.tolist()) == sorted(set(own) & set(drawn.edges.tolist()))
        assert {4, 7} <= set(shown.tolist())
    else:
        assert silent(training_graph(task, batch.tolist())) == own


def test_a_target_is_dropped_from_a_drawn_part_too(
    graph: KnowledgeGraph, features: TextFeatures
) -> None:
    task = make_task(
        graph, features, "gnn.fan_out=[1000]", "train.loss=margin", "gnn.target_dropout=1", *CALM
    )
    assert task.sampler is not None
    part = task.sampler.sample(task.head[[2, 5]].unique(), torch.Generator().manual_seed(0))
    seen = task._training_graph(torch.tensor([2, 5]), torch.Generator().manual_seed(0), part)
    assert seen is not None
    dropped = part.edges[seen.edge_weight == 0]
    assert set(dropped.tolist()) == {2, 5}
