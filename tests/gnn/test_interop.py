"""Graphs of PyTorch Geometric and DGL: there and back, and what is refused."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.backends import import_dgl
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.interop import (
    TripleGraph,
    from_dgl,
    from_pyg,
    to_dgl,
    to_dgl_hetero,
    to_pyg,
    to_pyg_hetero,
)
from tests.gnn.references import normal, random_triples

needs_pyg = pytest.mark.skipif(
    importlib.util.find_spec("torch_geometric") is None, reason="torch_geometric is not installed"
)
needs_dgl = pytest.mark.skipif(
    importlib.util.find_spec("dgl") is None, reason="dgl is not installed"
)


@st.composite
def graphs(draw: st.DrawFn) -> TripleGraph:
    """Any graph of one node type: isolated nodes, loops, duplicates and unused relations too."""
    nodes, relations = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    edges, seed = draw(st.integers(0, 12)), draw(st.integers(0, 99))
    return TripleGraph(
        random_triples(nodes, relations, edges, seed),
        nodes,
        relations,
        normal(nodes, 3, seed=seed) if draw(st.booleans()) else None,
        normal(edges, seed=seed) if draw(st.booleans()) else None,
    )


@st.composite
def typed_graphs(draw: st.DrawFn) -> TripleGraph:
    """Any graph of several node types, each of which may be empty."""
    names = draw(st.permutations(["author", "paper", "venue"]))
    counts = {name: draw(st.integers(0, 4)) for name in names}
    ends = st.sampled_from(names)
    edge_type = st.tuples(ends, st.sampled_from(["cites", "writes", "in"]), ends)
    edge_types = tuple(draw(st.lists(edge_type, min_size=1, max_size=4, unique=True)))
    start = {name: sum(counts[other] for other in names[:i]) for i, name in enumerate(names)}
    possible = [
        (start[source] + head, relation, start[target] + tail)
        for relation, (source, _, target) in enumerate(edge_types)
        for head in range(counts[source])
        for tail in range(counts[target])
    ]
    triples = draw(st.lists(st.sampled_from(possible), max_size=12)) if possible else []
    nodes, seed = sum(counts.values()), draw(st.integers(0, 99))
    return TripleGraph(
        torch.tensor(triples, dtype=torch.int64).view(-1, 3),
        nodes,
        len(edge_types),
        normal(nodes, 3, seed=seed) if draw(st.booleans()) else None,
        normal(len(triples), seed=seed) if draw(st.booleans()) else None,
        counts,
        edge_types,
    )


def assert_same_graph(ours: TripleGraph, theirs: TripleGraph, order: Tensor | None = None) -> None:
    """Equal in everything; edges in `order` of theirs."""
    rows = torch.arange(len(theirs.triples)) if order is None else order
    assert torch.equal(ours.triples, theirs.triples[rows])
    assert (ours.num_nodes, ours.num_relations) == (theirs.num_nodes, theirs.num_relations)
    assert (ours.x is None) == (theirs.x is None) and (ours.weight is None) == (
        theirs.weight is None
    )
    assert theirs.x is None or torch.equal(ours.x, theirs.x)
    assert theirs.weight is None or torch.equal(ours.weight, theirs.weight[rows])
    assert list(ours.node_counts.items()) == list(theirs.node_counts.items())
    assert ours.edge_types == theirs.edge_types


def by_name(graph: TripleGraph) -> tuple[Counter[Any], Counter[Any]]:
    """The nodes with their features, and the edges, by the names of their types."""
    named = [(name, node) for name, count in graph.node_counts.items() for node in range(count)]
    x = [None] * graph.num_nodes if graph.x is None else map(tuple, graph.x.tolist())
    weight = [None] * len(graph.triples) if graph.weight is None else graph.weight.tolist()
    edges = [
        (named[head], graph.edge_types[relation], named[tail], scale)
        for (head, relation, tail), scale in zip(graph.triples.tolist(), weight, strict=True)
    ]
    return Counter(zip(named, x, strict=True)), Counter(edges)


@needs_pyg
@given(graphs())
def test_pyg_and_back(graph: TripleGraph) -> None:
    data = to_pyg(graph)
    assert data.validate()
    assert_same_graph(from_pyg(data), graph)


@needs_pyg
@given(st.one_of(graphs(), typed_graphs()))
def test_hetero_pyg_and_back(graph: TripleGraph) -> None:
    data = to_pyg_hetero(graph)
    assert data.node_types == list(graph.node_counts)
    assert data.edge_types == list(graph.edge_types)
    assert_same_graph(from_pyg(data), graph, graph.triples[:, 1].argsort(stable=True))


@needs_dgl
@given(graphs())
def test_dgl_and_back(graph: TripleGraph) -> None:
    assert_same_graph(from_dgl(to_dgl(graph), graph.num_relations), graph)


@needs_dgl
@given(graphs())
def test_hetero_dgl_and_back(graph: TripleGraph) -> None:
    order = graph.triples[:, 1].argsort(stable=True)
    assert_same_graph(from_dgl(to_dgl_hetero(graph)), graph, order)


@needs_dgl
@given(typed_graphs())
def test_hetero_dgl_keeps_names_where_it_sorts_types(graph: TripleGraph) -> None:
    back = from_dgl(to_dgl_hetero(graph))
    assert list(back.node_counts) == sorted(graph.node_counts)
    assert by_name(back) == by_name(graph)


@needs_pyg
@given(typed_graphs())
def test_pyg_numbers_a_hetero_graph_as_we_do(graph: TripleGraph) -> None:
    """PyG's own conversion to a homogeneous graph is the reference."""
    data = to_pyg_hetero(graph).to_homogeneous()
    order = graph.triples[:, 1].argsort(stable=True)
    head, relation, tail = graph.triples[order].unbind(1)
    assert torch.equal(data.edge_index, torch.stack([head, tail]))
    assert torch.equal(data.edge_type, relation)
    assert graph.x is None or torch.equal(data.x, graph.x)


@needs_dgl
def test_dgl_numbers_a_hetero_graph_as_we_do() -> None:
    """DGL's own conversion to a homogeneous graph is the reference."""
    dgl: Any = import_dgl()
    graph = dgl.heterograph(
        {
            ("user", "plays", "game"): (torch.tensor([0, 2]), torch.tensor([1, 0])),
            ("user", "follows", "user"): (torch.tensor([2]), torch.tensor([2])),
        }
    )
    typed, flat = from_dgl(graph), from_dgl(dgl.to_homogeneous(graph))
    assert torch.equal(typed.triples, flat.triples)
    assert typed.node_counts == {"game": 2, "user": 3}
    assert typed.edge_types == (("user", "follows", "user"), ("user", "plays", "game"))


@needs_pyg
def test_what_is_read_makes_a_message_graph() -> None:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["paper"].num_nodes, data["author"].x = 2, torch.ones(3, 4)
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 2], [1, 1]])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0], [0]])
    data["paper"].x = torch.zeros(2, 4)
    graph = from_pyg(data)
    assert graph.triples.tolist() == [[2, 0, 1], [4, 0, 1], [0, 1, 0]]
    assert graph.node_ids == {"paper": slice(0, 2), "author": slice(2, 5)}
    assert graph.x is not None and torch.equal(graph.x[graph.node_ids["author"]], torch.ones(3, 4))
    built = MessageGraph.build(graph.triples, graph.num_nodes, graph.num_relations, graph.weight)
    assert built.num_edges == 3 and built.num_nodes == 5


@needs_pyg
def test_reading_changes_nothing() -> None:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["a", "to", "b"].edge_index = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(InputError):
        from_pyg(data)
    assert data.node_types == []


@needs_pyg
def test_num_relations_is_counted_where_nobody_says() -> None:
    from torch_geometric.data import Data

    edge_index = torch.tensor([[0, 1], [1, 0]])
    data = Data(edge_index=edge_index, edge_type=torch.tensor([4, 0]), num_nodes=2)
    assert from_pyg(data).num_relations == 5
    nothing = torch.empty(0, dtype=torch.int64)
    data = Data(edge_index=edge_index[:, :0], edge_type=nothing, num_nodes=2)
    assert from_pyg(data).num_relations == 0


@needs_dgl
@pytest.mark.parametrize("key", ["_TYPE", "rel_type", "etype"])
def test_dgl_edge_types_under_their_usual_names(key: str) -> None:
    dgl: Any = import_dgl()
    graph = dgl.graph(([0, 1], [1, 1]), num_nodes=3, idtype=torch.int32)
    graph.edata[key] = torch.tensor([1, 0], dtype=torch.int32)
    expected = torch.tensor([[0, 1, 1], [1, 0, 1]])
    torch.testing.assert_close(from_dgl(graph).triples, expected)  # int64 too


@needs_dgl
def test_one_named_relation_of_dgl_needs_no_edge_types() -> None:
    dgl: Any = import_dgl()
    graph = dgl.heterograph({("user", "follows", "user"): ([0, 1], [1, 1])})
    assert from_dgl(graph).edge_types == (("user", "follows", "user"),)


@needs_dgl
def test_dgl_refuses() -> None:
    dgl: Any = import_dgl()
    with pytest.raises(InputError, match=r"^graph has no edge types: set graph.edata\['rel_type'"):
        from_dgl(dgl.graph(([0], [1])))
    with pytest.raises(InputError, match="use to_dgl"):
        to_dgl_hetero(TripleGraph(torch.empty(0, 3, dtype=torch.int64), 1, 0))
    graph = to_dgl(TripleGraph(torch.tensor([[0, 3, 0]]), 1, 4))
    with pytest.raises(InputError, match="from 3 to 3: expected integers at least 0 and below 3"):
        from_dgl(graph, 3)


def plain(**changes: Any) -> Any:
    from torch_geometric.data import Data

    given = {
        "edge_index": torch.tensor([[0, 1, 1], [1, 2, 2]]),
        "edge_type": torch.tensor([0, 1, 0]),
        "num_nodes": 3,
        **changes,
    }
    return Data(**{name: value for name, value in given.items() if value is not None})


@needs_pyg
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_type": None}, "data has no edge_type: set data.edge_type"),
        ({"edge_index": None}, "data has no edge_index: set data.edge_index"),
        ({"num_nodes": None}, "data has neither num_nodes nor x: set data.num_nodes"),
        ({"edge_type": torch.zeros(2)}, r"edge types .* of shape \(2,\): expected \[3\]"),
        ({"edge_type": torch.tensor([0, -1, 0])}, "edge types .* from -1 to 0: expected"),
        ({"num_relations": 1}, "edge types .* from 0 to 1: expected integers .* below 1"),
        ({"edge_type": torch.ones(3)}, "edge types .* are torch.float32"),
        ({"edge_index": torch.zeros(3, 2).long()}, r"\(3, 2\): expected \[2, any\]"),
        ({"edge_index": torch.zeros(6).long()}, r"\(6,\): expected \[2, any\]"),
        ({"num_nodes": 2}, "nodes of the edges are torch.int64 from 0 to 2: .* below 2"),
        ({"x": torch.zeros(4, 2)}, r"node features of shape \(4, 2\): expected \[3, any\]"),
        ({"x": torch.zeros(3)}, r"node features of shape \(3,\): expected \[3, any\]"),
        ({"edge_weight": torch.ones(3, 1)}, r"edge weights of shape \(3, 1\): expected \[3\]"),
    ],
)
def test_data_is_refused(changes: dict[str, Any], message: str) -> None:
    assert len(from_pyg(plain()).triples) == 3
    with pytest.raises(InputError, match=message):
        from_pyg(plain(**changes))


WRITES = ("author", "writes", "paper")


def hetero(change: Callable[[Any], None] = lambda data: None) -> Any:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["author"].x, data["paper"].x = torch.zeros(2, 3), torch.zeros(4, 3)
    data[WRITES].edge_index = torch.tensor([[0, 1], [3, 0]])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[0], [1]])
    change(data)
    return data


def without_x(data: Any) -> None:
    del data["paper"].x


def of_another_width(data: Any) -> None:
    data["paper"].x = torch.zeros(4, 5)


def of_too_many_rows(data: Any) -> None:
    data["paper"].num_nodes = 5


def without_edges(data: Any) -> None:
    del data[WRITES].edge_index


def of_pairs(data: Any) -> None:
    data[WRITES].edge_index = torch.zeros(3, 2).long()


def out_of_its_type(data: Any) -> None:
    data[WRITES].edge_index = torch.tensor([[2], [0]])


def weighted_in_part(data: Any) -> None:
    data[WRITES].edge_weight = torch.ones(2)


def to_an_unknown_type(data: Any) -> None:
    data["author", "at", "venue"].edge_index = torch.zeros(2, 1).long()


@needs_pyg
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_x, r"data\['paper'\] has neither num_nodes nor x: set data\['paper'\].num_nodes"),
        (to_an_unknown_type, r"set data\['venue'\].num_nodes to the number of its nodes"),
        (of_another_width, r"node features .*'paper': \(4, 5\).* project them to one width"),
        (of_too_many_rows, r"node features .*'paper': \(4, 3\).* expected rows .*'paper': 5"),
        (without_edges, r"data\['author', 'writes', 'paper'\] has no edge_index"),
        (of_pairs, r"edge_index of \('author', 'writes', 'paper'\) of shape \(3, 2\)"),
        (out_of_its_type, r"^author of .*'writes'.* from 2 to 2: expected .* below 2"),
        (weighted_in_part, r"edge weights .* remove them from all"),
    ],
)
def test_hetero_data_is_refused(change: Callable[[Any], None], message: str) -> None:
    assert len(from_pyg(hetero()).triples) == 3
    with pytest.raises(InputError, match=message):
        from_pyg(hetero(change))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"node_counts": {"a": 1, "b": 1}}, "'a': 1, 'b': 1} .* expected 3 nodes in all"),
        ({"node_counts": {"a": 1, "b": 2}}, "0 edge types .* 1 different edge types"),
        ({"edge_types": (("entity", "r", "entity"),) * 2}, "expected .* 1 different edge types"),
        ({"edge_types": (("entity", "r", "thing"),)}, r"between \['entity', 'thing'\]: expected"),
    ],
)
def test_types_that_do_not_fit_are_refused(named: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TripleGraph(torch.tensor([[0, 0, 2]]), 3, 1, **named)


def test_types_that_nobody_named() -> None:
    graph = TripleGraph(torch.tensor([[0, 0, 2]]), 3, 11)
    assert graph.node_counts == {"entity": 3}
    assert graph.edge_types[::10] == (("entity", "00", "entity"), ("entity", "10", "entity"))


def test_triples_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"triples of shape \(3, 2\): expected \[any, 3\]"):
        TripleGraph(torch.zeros(3, 2).long(), 1, 1)


def test_an_edge_between_other_types_than_its_relation_has_is_refused() -> None:
    graph = TripleGraph(
        torch.tensor([[1, 0, 0]]),
        2,
        1,
        node_counts={"a": 1, "b": 1},
        edge_types=(("a", "to", "b"),),
    )
    with pytest.raises(InputError, match=r"^a of \('a', 'to', 'b'\) are torch.int64 from 1 to 1"):
        list(graph.by_relation())
