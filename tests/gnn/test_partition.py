"""Partitions and their batches: sizes, cut, against the full graph, in expectation, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.encoders import GRAPH_ENCODERS
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.partition import ClusterBatches, partition
from tests.gnn.references import assert_same, random_triples
from tests.gnn.test_sampling import (
    NODES,
    RELATIONS,
    assert_consistent,
    encoder,
    full_graph,
    generator,
    inputs,
    one_layer,
    positions,
)

PARTS = torch.arange(NODES) % 4


def graph_of(pairs: Tensor, nodes: int, weight: Tensor | None = None) -> MessageGraph:
    rows = torch.stack([pairs[:, 0], torch.zeros_like(pairs[:, 0]), pairs[:, 1]], 1)
    return MessageGraph.build(rows, nodes, 1, weight)


def cut(graph: MessageGraph, parts: Tensor) -> float:
    """The share of the message weight that goes between parts."""
    between = parts[graph.source] != parts[graph.target]
    return float((graph.weight * between).sum() / graph.weight.sum())


def communities(count: int, size: int, within: int, between: int) -> tuple[Tensor, Tensor]:
    """Pairs and each node's community: random pairs, so many a node within it and anywhere."""
    source = generator(1)
    community = torch.randperm(count * size, generator=source) % count
    members = community.argsort(stable=True).view(count, size)
    place = torch.randint(size, (count * size * within, 2), generator=source)
    chosen = torch.arange(count).repeat_interleave(size * within)
    inside = torch.stack([members[chosen, place[:, 0]], members[chosen, place[:, 1]]], 1)
    outside = torch.randint(count * size, (count * size * between, 2), generator=source)
    return torch.cat([inside, outside]), community


@settings(max_examples=20, deadline=None)
@given(
    nodes=st.integers(1, 60),
    edges=st.integers(0, 150),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_parts_are_balanced_and_none_is_empty(
    nodes: int, edges: int, share: float, seed: int
) -> None:
    graph = MessageGraph.build(random_triples(nodes, RELATIONS, edges, seed), nodes, RELATIONS)
    count = 1 + int(share * (nodes - 1))
    parts = partition(graph, count, generator(seed))
    assert parts.shape == (nodes,) and parts.dtype == torch.int64
    sizes = torch.bincount(parts)
    mean = nodes / count
    assert len(sizes) == count
    assert sizes.min() >= max(1, int(0.95 * mean)) and sizes.max() < 1.05 * mean + 1
    assert torch.equal(parts, partition(graph, count, generator(seed)))


def test_a_part_that_all_nodes_want_is_not_overfilled() -> None:
    leaves = torch.arange(1, 2000)
    graph = graph_of(torch.stack([leaves, torch.zeros_like(leaves)], 1), 2000)
    sizes = torch.bincount(partition(graph, 4, generator()))
    assert sizes.min() >= 475 and sizes.max() <= 525


@pytest.mark.parametrize(("count", "size", "parts"), [(8, 60, 8), (12, 40, 4)])
def test_communities_are_found(count: int, size: int, parts: int) -> None:
    pairs, community = communities(count, size, within=6, between=1)
    graph = graph_of(pairs, count * size)
    found = cut(graph, partition(graph, parts, generator()))
    assert found <= 1.05 * cut(graph, community) < 0.2


def test_a_lattice_is_cut_into_patches() -> None:
    place = torch.randperm(900, generator=generator(2)).view(30, 30)
    right = torch.stack([place[:, :-1].flatten(), place[:, 1:].flatten()], 1)
    down = torch.stack([place[:-1].flatten(), place[1:].flatten()], 1)
    graph = graph_of(torch.cat([right, down]), 900)
    # nine squares of 10 by 10 cut 0.069, nine stripes 0.14
    assert cut(graph, partition(graph, 9, generator())) < 0.12


def test_a_graph_of_hubs_is_cut_less_because_full_parts_attract_less() -> None:
    uniform = torch.rand(4000, 2, generator=generator(3))
    graph = graph_of((1000 * uniform ** torch.tensor([2, 4])).long(), 1000)
    mean = sum(cut(graph, partition(graph, 8, generator(seed))) for seed in range(3)) / 3
    # at random 0.875; 0.59 where a label's score is the plain count of neighbours
    assert mean < 0.572


def test_removed_triples_hold_nothing_together() -> None:
    pairs, community = communities(8, 40, within=4, between=0)
    wrong, _ = communities(1, 320, within=40, between=0)
    weight = torch.cat([torch.ones(len(pairs)), torch.zeros(len(wrong))])
    graph = graph_of(torch.cat([pairs, wrong]), 320, weight)
    assert cut(graph, partition(graph, 8, generator())) < 0.01
    assert cut(graph, community) == 0


def test_a_heavy_triple_is_not_cut() -> None:
    pairs = torch.combinations(torch.arange(8))
    heavy = (pairs[:, 0] // 4 == pairs[:, 1] // 4).float() * 100 + 1
    parts = partition(graph_of(pairs, 8, heavy), 2, generator())
    assert len(parts[:4].unique()) == len(parts[4:].unique()) == 1


@pytest.mark.parametrize("parts", [0, -1, NODES + 1])
def test_the_number_of_parts_fits_the_graph(parts: int) -> None:
    with pytest.raises(InputError, match=f"{parts} parts .* from 1 to {NODES}"):
        partition(full_graph(), parts, generator())


@pytest.mark.parametrize("kind", GRAPH_ENCODERS)
def test_all_parts_at_once_are_the_full_graph(kind: str) -> None:
    full, (x, z, text) = full_graph(), inputs()
    (batch,) = ClusterBatches(full, PARTS, 4, generator())
    assert torch.equal(batch.nodes, torch.arange(NODES)) and batch.num_seeds == NODES
    module = encoder(kind)
    ours = module(x[batch.nodes], z, batch.graph, text)[0]
    assert_same(ours, module(x, z, full, text)[0], [x, z, text])


@pytest.mark.parametrize("kind", ["rgcn", "compgcn"])
@pytest.mark.parametrize(("count", "per_batch", "groupings"), [(4, 2, 3), (6, 3, 10)])
def test_a_layer_is_the_full_one_on_average_over_all_groupings(
    kind: str, count: int, per_batch: int, groupings: int
) -> None:
    full, x, parts = full_graph(), inputs()[0].detach(), torch.arange(NODES) % count
    batches = ClusterBatches(full, parts, per_batch, generator())
    expected, outputs = one_layer(kind, x, full), {}
    for _ in range(20 * groupings):
        epoch = list(batches)
        grouping = frozenset(frozenset(parts[batch.nodes].tolist()) for batch in epoch)
        if grouping not in outputs:
            outputs[grouping] = torch.empty_like(expected)
            for batch in epoch:
                outputs[grouping][batch.nodes] = one_layer(kind, x[batch.nodes], batch.graph)
    assert len(outputs) == groupings
    average = torch.stack(list(outputs.values())).mean(0)
    torch.testing.assert_close(average, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    nodes=st.integers(4, 20),
    edges=st.integers(0, 60),
    per_batch=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 1000),
)
def test_a_batch_holds_the_messages_between_its_nodes(
    nodes: int, edges: int, per_batch: int, seed: int
) -> None:
    full = MessageGraph.build(random_triples(nodes, RELATIONS, edges, seed), nodes, RELATIONS)
    parts = torch.randperm(nodes, generator=generator(seed)) % 4
    batches = ClusterBatches(full, parts, per_batch, generator(seed))
    epoch = list(batches)
    assert len(batches) == len(epoch) == 4 // per_batch
    seen = torch.cat([batch.nodes for batch in epoch])
    assert torch.equal(seen.sort().values, torch.arange(nodes))
    for batch in epoch:
        assert_consistent(batch, full)
        assert len(parts[batch.nodes].unique()) == per_batch
        inside = torch.isin(full.source, batch.nodes) & torch.isin(full.target, batch.nodes)
        assert torch.equal(positions(batch, full), inside.nonzero().flatten())
        between = (parts[full.source] != parts[full.target])[inside]
        scale = torch.where(between, 3 / max(per_batch - 1, 1), 1.0)
        assert batch.graph.scale is not None and torch.equal(batch.graph.scale, scale)


def test_every_epoch_groups_anew() -> None:
    batches = ClusterBatches(full_graph(), PARTS, 2, generator())
    first = {tuple(next(iter(batches)).nodes.tolist()) for _ in range(20)}
    assert len(first) > 1
    again = ClusterBatches(full_graph(), PARTS, 2, generator())
    assert [b.nodes.tolist() for b in ClusterBatches(full_graph(), PARTS, 2, generator())] == [
        b.nodes.tolist() for b in again
    ]


@pytest.mark.parametrize(
    ("parts", "per_batch", "words"),
    [
        (PARTS[:-1], 2, r"shape \(11,\) for a graph of 12 nodes"),
        (PARTS.float(), 2, "expected one number a node"),
        (PARTS - 1, 2, "part -1: expected numbers from 0"),
        (PARTS + (PARTS > 1), 2, "part 2 of 5 has no node"),
        (PARTS, 3, "3 parts a batch of 4 parts: expected a divisor of 4"),
        (PARTS, 0, "0 parts a batch"),
        (PARTS, 8, "8 parts a batch"),
    ],
)
def test_bad_parts_are_one_line(parts: Tensor, per_batch: int, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        ClusterBatches(full_graph(), parts, per_batch, generator())
    assert "\n" not in str(caught.value)
