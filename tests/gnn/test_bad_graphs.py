"""Any graph, however odd, gives what the equations give: against the slow references."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.attention import AttentionLayer
from relgnn.gnn.blocks import BlockRGCNLayer
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer
from tests.gnn import references
from tests.gnn.references import assert_same, normal, randomise

RELATIONS, WIDTH = 3, 4
SELF_LOOPS = (2, [(0, 0, 0), (1, 2, 1), (1, 2, 1)])
DUPLICATES = (3, [(0, 1, 2)] * 4)
ONE_NODE = (1, [(0, 0, 0)])
NO_TRIPLE = (4, [])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    """1 to 6 nodes and 0 to 10 triples: loops, copies, lone nodes and idle relations come along."""
    nodes = draw(st.integers(1, 6))
    node = st.integers(0, nodes - 1)
    triple = st.tuples(node, st.integers(0, RELATIONS - 1), node)
    return nodes, draw(st.lists(triple, max_size=10))


def tensor(triples: list[tuple[int, int, int]]) -> Tensor:
    return torch.tensor(triples, dtype=torch.int64).view(-1, 3)


@settings(max_examples=25)
@example(SELF_LOOPS)
@example(DUPLICATES)
@example(ONE_NODE)
@example(NO_TRIPLE)
@given(graphs())
@pytest.mark.parametrize("kind", ["rgcn", "blocks", "mult", "corr", "attention"])
def test_every_layer_is_its_equation(
    kind: str, graph: tuple[int, list[tuple[int, int, int]]]
) -> None:
    nodes, triples = graph[0], tensor(graph[1])
    x, z = normal(nodes, WIDTH).requires_grad_(), normal(2 * RELATIONS, WIDTH, seed=1)
    messages = MessageGraph.build(triples, nodes, RELATIONS)
    layer: torch.nn.Module
    if kind == "rgcn":
        layer = RGCNLayer(WIDTH, WIDTH, 2 * RELATIONS, 2)
        randomise(layer)
        ours, theirs = layer(x, messages), references.rgcn(layer, x, triples, RELATIONS)
    elif kind == "blocks":
        layer = BlockRGCNLayer(WIDTH, WIDTH, 2 * RELATIONS, 2)
        randomise(layer)
        ours, theirs = layer(x, messages), references.block_rgcn(layer, x, triples, RELATIONS)
    elif kind == "attention":
        layer = AttentionLayer(WIDTH, WIDTH, 2)
        randomise(layer)
        ours = layer(x, z, messages)
        theirs = references.attention(layer, x, z, triples, RELATIONS)
    else:
        layer = CompGCNLayer(WIDTH, WIDTH, kind)
        randomise(layer)
        ours = layer(x, z, messages)[0]
        theirs = references.compgcn(layer, x, z, triples, RELATIONS)[0]
    assert_same(ours, theirs, [x, *layer.parameters()])


@pytest.mark.parametrize("triple", [(0, 0, 5), (-1, 0, 0), (0, RELATIONS, 0)])
def test_an_index_out_of_range_is_an_error(triple: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="expected ids from 0 to"):
        MessageGraph.build(tensor([triple]), 5, RELATIONS)


def test_nan_features_reach_neighbours_only() -> None:
    """A missing number shows where it was read and nowhere else: nothing is silently zero."""
    graph = MessageGraph.build(tensor([(0, 0, 1), (2, 1, 3)]), 5, RELATIONS)
    x, z = normal(5, WIDTH), normal(2 * RELATIONS, WIDTH, seed=1)
    x[0, 2] = torch.nan
    for layer in (RGCNLayer(WIDTH, WIDTH, 2 * RELATIONS, 2), BlockRGCNLayer(WIDTH, WIDTH, 6, 2)):
        assert layer(x, graph).isnan().any(1).tolist() == [True, True, False, False, False]
    for gated in (CompGCNLayer(WIDTH, WIDTH, "mult"), CompGCNLayer(WIDTH, WIDTH, "corr")):
        found = gated(x, z, graph)[0].isnan().any(1)
        assert found.tolist() == [True, True, False, False, False]
    found = AttentionLayer(WIDTH, WIDTH, 2)(x, z, graph).isnan().any(1)
    assert found.tolist() == [True, True, False, False, False]
