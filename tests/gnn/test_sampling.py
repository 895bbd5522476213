"""Neighbour sampling: against the full graph, in expectation, each draw's rules, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from relgnn.errors import InputError
from relgnn.gnn.encoders import GRAPH_ENCODERS, make_encoder
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer
from relgnn.gnn.sampling import NeighbourSampler, Subgraph
from tests.gnn.references import assert_same, normal, random_triples, randomise

NODES, RELATIONS, EDGES, DIM, TEXT, EVIDENCE = 12, 3, 40, 4, 4, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def full_graph() -> MessageGraph:
    """Weights, evidence, a triple three times, a node that sends to itself; the last is alone."""
    triples = random_triples(NODES - 1, RELATIONS, EDGES)
    triples[1:3] = triples[0]
    triples[3, 2] = triples[3, 0]
    evidence = normal(EDGES, EVIDENCE, seed=7) * (torch.arange(EDGES) % 2)[:, None]
    weight = torch.rand(EDGES, generator=generator(3)) + 0.5
    return MessageGraph.build(triples, NODES, RELATIONS, weight, evidence)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((NODES, DIM), (2 * RELATIONS, DIM), (RELATIONS, TEXT))
    x, z, text = (normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    return x, z, text


def encoder(kind: str, layers: int = 2) -> torch.nn.Module:
    module = make_encoder(
        kind, DIM, 2 * RELATIONS, num_layers=layers, text_dim=TEXT, evidence_dim=EVIDENCE
    )
    randomise(module)
    return module


def one_layer(kind: str, x: Tensor, graph: MessageGraph) -> Tensor:
    """The output of one layer without an activation: linear in its messages."""
    _, z, text = inputs()
    if kind == "rgcn":
        layer: Any = RGCNLayer(DIM, DIM, 2 * RELATIONS, 2, TEXT, EVIDENCE)
        randomise(layer)
        return layer(x, graph, text).detach()
    layer = CompGCNLayer(DIM, DIM, "mult", TEXT, EVIDENCE)
    randomise(layer)
    return layer(x, z, graph, text)[0].detach()


def coefficients(graph: MessageGraph) -> Tensor:
    return torch.stack([graph.weight * graph.norm, graph.weight * graph.symmetric_norm])


def positions(batch: Subgraph, full: MessageGraph) -> Tensor:
    """Where each message of a batch is in the full graph: a triple has one in each direction."""
    place = torch.empty(2, full.num_edges, dtype=torch.int64)
    place[full.direction, full.edge_id] = torch.arange(len(full.source))
    return place[batch.graph.direction, batch.edges[batch.graph.edge_id]]


def assert_consistent(batch: Subgraph, full: MessageGraph) -> None:
    """Every field says of each message what the full graph says, and is in the promised order."""
    graph, topology, at = batch.graph, batch.graph.topology, positions(batch, full)
    assert batch.nodes.unique().shape == batch.nodes.shape == (graph.num_nodes,)
    assert at.unique().shape == at.shape, "a message was drawn twice"
    assert torch.equal(batch.nodes[graph.source], full.source[at])
    assert torch.equal(batch.nodes[graph.target], full.target[at])
    assert torch.equal(graph.relation, full.relation[at])
    assert torch.equal(batch.edges, full.edge_id[at].unique())
    assert graph.num_edges == len(batch.edges)
    key = graph.target * 2 * RELATIONS + graph.relation
    assert torch.equal(key, key.sort().values)
    assert torch.equal(topology.group, key.unique(return_inverse=True)[1])
    assert topology.num_groups == len(key.unique())
    torch.testing.assert_close(coefficients(graph), coefficients(full)[:, at] * graph.scale)
    if full.evidence is not None and full.evidence_index is not None:
        assert graph.evidence is not None and graph.evidence_index is not None
        ours, theirs = (
            torch.cat([g.evidence, torch.zeros(1, EVIDENCE)])[g.evidence_index]
            for g in (graph, full)
        )
        assert torch.equal(ours, theirs[batch.edges])


@pytest.mark.parametrize("kind", GRAPH_ENCODERS)
@pytest.mark.parametrize("seeds", [[5], [7, 2, NODES - 1, 0], list(range(NODES))])
def test_all_neighbours_are_the_full_graph(kind: str, seeds: list[int]) -> None:
    full, (x, z, text) = full_graph(), inputs()
    batch = NeighbourSampler(full, (None, None)).sample(torch.tensor(seeds), generator())
    module = encoder(kind)
    ours = module(x[batch.nodes], z, batch.graph, text)[0][: batch.num_seeds]
    theirs = module(x, z, full, text)[0][seeds]
    assert_same(ours, theirs, [x, z, text])


def test_one_hop_too_few_is_not_the_full_graph() -> None:
    full, (x, z, text) = full_graph(), inputs()
    batch = NeighbourSampler(full, (None,)).sample(torch.tensor([0]), generator())
    module = encoder("rgcn")
    ours = module(x[batch.nodes], z, batch.graph, text)[0][0]
    assert not torch.allclose(ours, module(x, z, full, text)[0][0], atol=1e-3)


@pytest.mark.parametrize("kind", ["rgcn", "compgcn"])
def test_a_layer_is_the_full_one_in_expectation(kind: str) -> None:
    full, x = full_graph(), inputs()[0].detach()
    sampler, source, seeds = NeighbourSampler(full, (3,)), generator(), torch.arange(NODES)
    draws = [sampler.sample(seeds, source).graph for _ in range(400)]
    outputs = torch.stack([one_layer(kind, x, graph) for graph in draws])
    error = outputs.std(0) / len(draws) ** 0.5
    expected = one_layer(kind, x, full)
    assert ((outputs.mean(0) - expected).abs() <= 4 * error + 1e-5).all()
    # what makes the line above a test: the spread of the mean is small beside what is summed
    alone = one_layer(kind, x, full.drop(torch.zeros(EDGES, dtype=torch.bool)))
    assert error.norm() < 0.1 * (expected - alone).norm()


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.integers(1, 9),
    edges=st.integers(0, 30),
    fan_out=st.lists(st.none() | st.integers(1, 5), min_size=1, max_size=3),
    chosen=st.integers(0, 9),
    seed=st.integers(0, 1000),
)
def test_every_node_draws_once_what_its_hop_allows(
    nodes: int, edges: int, fan_out: list[int | None], chosen: int, seed: int
) -> None:
    full = MessageGraph.build(random_triples(nodes, RELATIONS, edges, seed), nodes, RELATIONS)
    seeds = torch.randperm(nodes, generator=generator(seed))[:chosen]
    batch = NeighbourSampler(full, fan_out).sample(seeds, generator(seed))
    assert_consistent(batch, full)
    assert torch.equal(batch.nodes[: batch.num_seeds], seeds) and batch.num_seeds == len(seeds)
    graph, frontier, seen = batch.graph, set(range(len(seeds))), set(range(len(seeds)))
    for most in fan_out:
        reached = set()
        for node in frontier:
            into = graph.target == node
            degree = int((full.target == batch.nodes[node]).sum())
            count = degree if most is None else min(most, degree)
            assert int(into.sum()) == count
            assert graph.scale is not None
            torch.testing.assert_close(
                graph.scale[into], torch.full((count,), degree / (count or 1))
            )
            reached |= set(graph.source[into].tolist())
        frontier = reached - seen
        seen |= reached
    assert seen == set(range(graph.num_nodes))
    assert not torch.isin(graph.target, torch.tensor(sorted(frontier), dtype=torch.int64)).any()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_subset_is_as_likely(count: int) -> None:
    targets, degree = 4000, 5
    head = torch.arange(targets * degree) + targets
    tail = torch.arange(targets).repeat_interleave(degree)
    relation = torch.arange(degree).repeat(targets)
    full = MessageGraph.build(torch.stack([head, relation, tail], 1), targets * (degree + 1), 5)
    batch = NeighbourSampler(full, (count,)).sample(torch.arange(targets), generator())
    subset = (2**batch.graph.relation).view(targets, count).sum(1)
    observed = torch.unique(subset, return_counts=True)[1]
    assert len(observed) == {1: 5, 2: 10, 4: 5}[count]
    assert chisquare(observed.numpy()).pvalue > 1e-3


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def tensors(values: Any) -> list[Tensor]:
            return [v for v in values if isinstance(v, Tensor)]

        out = func(*args, **(kwargs or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors(args)}
        for tensor in tensors(out if isinstance(out, (tuple, list)) else [out]):
            if tensor.untyped_storage().data_ptr() not in given:
                self.size = max(self.size, tensor.numel())
        return out


def test_a_draw_makes_nothing_of_the_size_of_the_graph() -> None:
    edges = 20_000
    triples = random_triples(edges, RELATIONS, edges)
    triples[: edges // 2, 2] = 0  # a node that half of all messages go to
    full = MessageGraph.build(triples, edges, RELATIONS)
    sampler, seeds = NeighbourSampler(full, (5, 5)), torch.arange(10)
    sampler.sample(seeds, generator())
    with Largest() as largest:
        batch = sampler.sample(seeds, generator(1))
    assert len(batch.graph.source) <= largest.size < edges / 20


def test_the_order_of_seeds_is_the_order_of_nodes() -> None:
    full, (x, z, text) = full_graph(), inputs()
    sampler, module = NeighbourSampler(full, (None, None)), encoder("compgcn")
    order = torch.tensor([4, 9, 1])
    one, other = (sampler.sample(seeds, generator()) for seeds in (order, order.flip(0)))
    assert torch.equal(one.nodes[:3], order) and torch.equal(other.nodes[:3], order.flip(0))
    outputs = [module(x[b.nodes], z, b.graph, text)[0][:3] for b in (one, other)]
    torch.testing.assert_close(outputs[0], outputs[1].flip(0))


def test_a_sampler_starts_each_batch_anew() -> None:
    full, seeds = full_graph(), torch.tensor([3, 8])
    used = NeighbourSampler(full, (2, 2))
    used.sample(torch.arange(NODES), generator(5))
    with pytest.raises(AttributeError):
        used.sample(torch.arange(NODES), "no generator")  # type: ignore[arg-type]
    ours = used.sample(seeds, generator(1))
    fresh = NeighbourSampler(full, (2, 2)).sample(seeds, generator(1))
    assert torch.equal(ours.nodes, fresh.nodes)
    assert torch.equal(positions(ours, full), positions(fresh, full))
    other = [used.sample(seeds, generator(seed)) for seed in range(2, 6)]
    assert any(not torch.equal(ours.nodes, batch.nodes) for batch in other)


def test_dropping_weighs_zero_and_leaves_the_norms() -> None:
    full = full_graph()
    batch = NeighbourSampler(full, (3, 3)).sample(torch.tensor([0, 1]), generator())
    keep = torch.arange(EDGES) % 3 != 0
    dropped = batch.graph.drop(keep[batch.edges])
    gone = ~keep[batch.edges][dropped.edge_id]
    assert gone.any() and not gone.all()
    assert not dropped.weight[gone].any()
    assert torch.equal(coefficients(dropped)[:, ~gone], coefficients(batch.graph)[:, ~gone])


def test_evidence_can_be_masked_before_or_after() -> None:
    full, keep = full_graph(), torch.arange(EDGES) > 20
    before, after = (
        NeighbourSampler(graph, (3, 3)).sample(torch.tensor([0, 1]), generator())
        for graph in (full.mask_evidence(keep), full)
    )
    assert_consistent(before, full.mask_evidence(keep))
    x, z, text = inputs()
    module = encoder("rgcn")
    masked = after.graph.mask_evidence(keep[after.edges])
    ours = module(x[after.nodes], z, masked, text)
    torch.testing.assert_close(ours, module(x[before.nodes], z, before.graph, text))
    assert not torch.equal(ours[0], module(x[after.nodes], z, after.graph, text)[0])


def test_a_batch_of_a_batch_keeps_its_scale() -> None:
    batch = NeighbourSampler(full_graph(), (2,)).sample(torch.arange(NODES), generator())
    again = NeighbourSampler(batch.graph, (None,)).sample(torch.arange(NODES), generator())
    assert torch.equal(coefficients(again.graph), coefficients(batch.graph))


@pytest.mark.parametrize("kind", GRAPH_ENCODERS)
@pytest.mark.parametrize(
    ("triples", "nodes", "seeds"),
    [
        ([[0, 1, 0], [0, 1, 0]], 1, [0]),  # one node that sends to itself, twice
        ([[0, 1, 1]], 3, [2]),  # an isolated seed
        ([], 2, [1, 0]),  # no triples
    ],
)
def test_small_graphs(kind: str, triples: list[list[int]], nodes: int, seeds: list[int]) -> None:
    x, z, text = inputs()
    rows = torch.tensor(triples, dtype=torch.int64).view(-1, 3)
    full = MessageGraph.build(rows, nodes, RELATIONS)
    batch = NeighbourSampler(full, (4, 4)).sample(torch.tensor(seeds), generator())
    assert_consistent(batch, full)
    module = encoder(kind)
    ours = module(x[batch.nodes], z, batch.graph, text)[0][: len(seeds)]
    torch.testing.assert_close(ours, module(x[:nodes], z, full, text)[0][seeds])


@pytest.mark.parametrize("fan_out", [(), (0,), (None, -1)])
def test_a_fan_out_is_at_least_one(fan_out: tuple[int | None, ...]) -> None:
    with pytest.raises(InputError, match="fan-out .* at least 1") as caught:
        NeighbourSampler(full_graph(), fan_out)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (torch.tensor([0, NODES]), "seeds from 0 to 12: expected nodes from 0 to 11"),
        (torch.tensor([-1]), "seeds from -1"),
        (torch.tensor([4, 2, 4]), "3 seeds, 2 of them distinct"),
        (torch.tensor([[1]]), r"shape \(1, 1\)"),
        (torch.tensor([1.0]), "expected node numbers"),
    ],
)
def test_bad_seeds_are_one_line(seeds: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        NeighbourSampler(full_graph(), (2,)).sample(seeds, generator())
    assert "\n" not in str(caught.value)
