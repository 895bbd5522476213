"""The message graph: inverse edges, order, norms, dropping, evidence, bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from tests.gnn.references import messages, normal, random_triples

NODES, RELATIONS, EDGES = 7, 3, 20


@pytest.fixture
def triples() -> torch.Tensor:
    return random_triples(NODES, RELATIONS, EDGES)


def test_every_triple_sends_both_ways(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    fields = (graph.source, graph.target, graph.relation, graph.direction, graph.edge_id)
    ours = sorted(zip(*(field.tolist() for field in fields), strict=True))
    assert ours == sorted(message[:5] for message in messages(triples, RELATIONS))


def test_messages_are_sorted_by_target(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    assert (graph.target[1:] >= graph.target[:-1]).all()
    assert graph.topology.by_node.row_order is None


def test_norm_counts_the_weight_of_each_relation(triples: torch.Tensor) -> None:
    weight = torch.rand(EDGES, generator=torch.Generator().manual_seed(1))
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight)
    for target, relation, norm in zip(graph.target, graph.relation, graph.norm, strict=True):
        same = (graph.target == target) & (graph.relation == relation)
        torch.testing.assert_close(norm, 1 / graph.weight[same].sum())


def test_symmetric_norm_counts_within_a_direction(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    for i in range(2 * EDGES):
        same = graph.direction == graph.direction[i]
        leaving = (same & (graph.source == graph.source[i])).sum()
        reaching = (same & (graph.target == graph.target[i])).sum()
        torch.testing.assert_close(graph.symmetric_norm[i], (leaving * reaching) ** -0.5)


def test_dropping_takes_both_directions_and_counts_anew(triples: torch.Tensor) -> None:
    keep = torch.arange(EDGES) % 3 != 0
    dropped = MessageGraph.build(triples, NODES, RELATIONS).drop(keep)
    small = MessageGraph.build(triples[keep], NODES, RELATIONS)
    alive = dropped.weight > 0
    assert torch.equal(alive, keep[dropped.edge_id])
    assert torch.equal(dropped.target[alive], small.target)
    torch.testing.assert_close(dropped.norm[alive], small.norm)
    torch.testing.assert_close(dropped.symmetric_norm[alive], small.symmetric_norm)
    assert not dropped.norm[~alive & (dropped.norm == 0)].any()


def test_dropping_shares_what_was_sorted(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    assert graph.drop(torch.ones(EDGES, dtype=torch.bool)).topology is graph.topology


def test_only_evidence_that_is_there_is_kept(triples: torch.Tensor) -> None:
    evidence = normal(EDGES, 4)
    evidence[::2] = 0
    graph = MessageGraph.build(triples, NODES, RELATIONS, evidence=evidence)
    assert graph.evidence is not None and graph.evidence_index is not None
    assert graph.evidence.shape == (EDGES // 2, 4)
    padded = torch.cat([graph.evidence, torch.zeros(1, 4)])
    assert torch.equal(padded[graph.evidence_index], evidence)
    masked = graph.mask_evidence(torch.arange(EDGES) > 9)
    assert masked.evidence_index is not None
    assert not padded[masked.evidence_index][:10].any()
    assert torch.equal(padded[masked.evidence_index][10:], evidence[10:])


def test_masking_without_evidence_changes_nothing(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS)
    assert graph.mask_evidence(torch.zeros(EDGES, dtype=torch.bool)) is graph


def test_moving_keeps_all_fields(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES, RELATIONS, evidence=normal(EDGES, 4))
    assert graph.to("cpu") is graph
    moved = graph.to("meta")
    for tensor in (moved.source, moved.edge_weight, moved.evidence, moved.evidence_index):
        assert tensor is not None and tensor.device.type == "meta"
    assert moved.num_edges == EDGES


def test_the_pointer_delimits_the_messages_of_each_node(triples: torch.Tensor) -> None:
    graph = MessageGraph.build(triples, NODES + 2, RELATIONS)
    pointer = graph.topology.pointer.tolist()
    assert len(pointer) == NODES + 3 and pointer[-1] == 2 * EDGES
    for node in range(NODES + 2):
        assert set(range(*pointer[node : node + 2])) == set(
            (graph.target == node).nonzero().flatten().tolist()
        )


def test_norms_of_some_messages_are_those_of_all(triples: torch.Tensor) -> None:
    weight = torch.rand(EDGES, generator=torch.Generator().manual_seed(1))
    graph = MessageGraph.build(triples, NODES, RELATIONS, weight=weight)
    some = torch.tensor([3, 0, 2 * EDGES - 1, 3])
    expected = torch.stack([graph.norm, graph.symmetric_norm])[:, some]
    assert torch.equal(graph.norms_of(some), expected)
    fixed = replace(graph, fixed_norms=normal(2, 2 * EDGES))
    assert torch.equal(fixed.norms_of(some), normal(2, 2 * EDGES)[:, some])


def test_fixed_norms_and_scale_stay_when_triples_are_dropped(triples: torch.Tensor) -> None:
    norms, scale = normal(2, 2 * EDGES), normal(2 * EDGES, seed=1).abs()
    graph = replace(MessageGraph.build(triples, NODES, RELATIONS), fixed_norms=norms, scale=scale)
    keep = torch.arange(EDGES) % 3 != 0
    for seen, weight in ((graph, torch.ones(EDGES)), (graph.drop(keep), keep.float())):
        assert torch.equal(seen.weight, weight[graph.edge_id] * scale)
        assert torch.equal(torch.stack([seen.norm, seen.symmetric_norm]), norms)
    moved = graph.to("meta")
    assert moved.norm.device.type == moved.weight.device.type == "meta"


def test_an_empty_graph_has_no_messages() -> None:
    graph = MessageGraph.build(torch.empty(0, 3, dtype=torch.int64), NODES, RELATIONS)
    assert graph.norm.shape == graph.symmetric_norm.shape == (0,)
    assert graph.num_nodes == NODES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"triples": torch.tensor([[0, 0, NODES]])}, "tail ids from 7 to 7"),
        ({"triples": torch.tensor([[-1, 0, 0]])}, "head ids from -1"),
        ({"triples": torch.tensor([[0, RELATIONS, 0]])}, "relation ids from 3"),
        ({"triples": torch.zeros(3, 2, dtype=torch.int64)}, r"shape \(3, 2\)"),
        ({"weight": torch.full((EDGES,), -1.0)}, "finite weight"),
        ({"weight": torch.full((EDGES,), torch.nan)}, "finite weight"),
        ({"weight": torch.ones(2)}, r"shape \(2,\) for 20 triples"),
        ({"evidence": torch.ones(2, 4)}, "one row a triple"),
    ],
)
def test_bad_input_is_one_line(
    triples: torch.Tensor, change: dict[str, torch.Tensor], words: str
) -> None:
    given = {"triples": triples, **change}
    with pytest.raises(InputError, match=words) as caught:
        MessageGraph.build(num_nodes=NODES, num_relations=RELATIONS, **given)
    assert "\n" not in str(caught.value)
