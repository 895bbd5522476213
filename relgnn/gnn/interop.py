"""Graphs of PyTorch Geometric and DGL in and out, by way of one small class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.backends import import_dgl
from relgnn.runtime import optional_import

if TYPE_CHECKING:
    from dgl import DGLGraph
    from torch_geometric.data import Data, HeteroData

EdgeType = tuple[str, str, str]
"""Source node type, name of the relation, target node type."""


@dataclass(frozen=True, eq=False)
class TripleGraph:
    """A graph on its way between relgnn and another library.

    `MessageGraph.build(g.triples, g.num_nodes, g.num_relations, g.weight)` makes the graph that our
    encoders read. It adds the inverse of every triple, so a graph need not have both directions.

    Args:
        triples: int64 [E, 3], (head, relation, tail).
        num_nodes: N.
        num_relations: R.
        x: node features [N, d], or None.
        weight: edge weights [E], or None.
        node_counts: the number of nodes of each type, whose ids follow one another in this order.
            Where empty, all are of the type "entity".
        edge_types: what each relation is called and which node types it joins. Where empty, and
            nodes are of one type, relations are called by their numbers.

    Raises:
        InputError: a wrong shape, an id out of range, or types that do not fit the sizes.
    """

    triples: Tensor
    num_nodes: int
    num_relations: int
    x: Tensor | None = None
    weight: Tensor | None = None
    node_counts: Mapping[str, int] = field(default_factory=dict)
    edge_types: tuple[EdgeType, ...] = ()

    def __post_init__(self) -> None:
        _check_shape("triples", self.triples, None, 3)
        _check_ids("nodes of the edges", self.triples[:, ::2], self.num_nodes)
        _check_ids("edge types (relations)", self.triples[:, 1], self.num_relations)
        _check_shape("node features", self.x, self.num_nodes, None)
        _check_shape("edge weights", self.weight, len(self.triples))
        counts = dict(self.node_counts) or {"entity": self.num_nodes}
        edge_types = self.edge_types
        if not edge_types and len(counts) == 1:
            # Of one length: DGL sorts relations by name, which must not change their order.
            digits, (node_type,) = len(str(self.num_relations - 1)), counts
            names = (f"{number:0{digits}d}" for number in range(self.num_relations))
            edge_types = tuple((node_type, name, node_type) for name in names)
        ends = {end for edge_type in edge_types for end in edge_type[::2]}
        given = (sum(counts.values()), len(edge_types), len(set(edge_types)))
        if given != (self.num_nodes, self.num_relations, self.num_relations) or ends - set(counts):
            raise InputError(
                f"node types {counts} and {given[2]} edge types between {sorted(ends)}: expected "
                f"{self.num_nodes} nodes in all and {self.num_relations} different edge types "
                "between these node types"
            )
        object.__setattr__(self, "triples", self.triples.long())
        object.__setattr__(self, "node_counts", counts)
        object.__setattr__(self, "edge_types", edge_types)

    @property
    def node_ids(self) -> dict[str, slice]:
        """The ids of each node type; a node's number within its type is its id less the start."""
        stops = accumulate(self.node_counts.values())
        counts = zip(self.node_counts.items(), stops, strict=True)
        return {name: slice(stop - count, stop) for (name, count), stop in counts}

    def by_relation(self) -> Iterator[tuple[EdgeType, Tensor, Tensor | None]]:
        """Each relation's edges [2, E_r], numbered within their node types, and weights [E_r].

        Raises:
            InputError: an edge's end is not of the node type that its relation has there.
        """
        relation, ids = self.triples[:, 1], self.node_ids
        order = torch.argsort(relation, stable=True)
        sizes = torch.bincount(relation, minlength=self.num_relations).tolist()
        for edge_type, rows in zip(self.edge_types, order.split(sizes), strict=True):
            edge_index = self.triples[rows, ::2].t().contiguous()
            for end, node_type in zip(edge_index, edge_type[::2], strict=True):
                end -= ids[node_type].start
                _check_ids(f"{node_type} of {edge_type}", end, self.node_counts[node_type])
            yield edge_type, edge_index, None if self.weight is None else self.weight[rows]


def to_pyg(graph: TripleGraph) -> Data:
    """PyTorch Geometric's `Data`, without the names of types.

    It has edge_index, edge_type, num_nodes and num_relations, and x and edge_weight where given.
    """
    with optional_import("pyg"):
        from torch_geometric.data import Data
    head, relation, tail = graph.triples.unbind(1)
    data = Data(x=graph.x, edge_index=torch.stack([head, tail]), edge_type=relation)
    data.num_nodes, data.num_relations = graph.num_nodes, graph.num_relations
    if graph.weight is not None:
        data.edge_weight = graph.weight
    return data


def to_pyg_hetero(graph: TripleGraph) -> HeteroData:
    """PyTorch Geometric's `HeteroData`, an edge type for each relation.

    It has num_nodes (and x) for each node type and edge_index (and edge_weight) for each edge type;
    edges keep their order within a relation.
    """
    with optional_import("pyg"):
        from torch_geometric.data import HeteroData
    data = HeteroData()
    for name, ids in graph.node_ids.items():
        data[name].num_nodes = graph.node_counts[name]
        if graph.x is not None:
            data[name].x = graph.x[ids]
    for edge_type, edge_index, weight in graph.by_relation():
        data[edge_type].edge_index = edge_index
        if weight is not None:
            data[edge_type].edge_weight = weight
    return data


def from_pyg(data: Data | HeteroData) -> TripleGraph:
    """Read a graph of PyTorch Geometric; node types and relations keep their order.

    Args:
        data: `Data` with edge_index, edge_type, and num_nodes or x; optionally edge_weight, and
            num_relations, which otherwise is one more than the greatest edge type. Or `HeteroData`
            with edge_index (optionally edge_weight) for each edge type, and num_nodes or x for each
            node type.

    Raises:
        InputError: something is missing, of a wrong shape or out of range, or types differ in the
        width of their features.
    """
    with optional_import("pyg"):
        from torch_geometric.data import HeteroData
    if isinstance(data, HeteroData):
        ends = [end for edge_type in data.edge_types for end in edge_type[::2]]
        # Asking HeteroData for a node type that it lacks would add it.
        known = dict(zip(data.node_types, data.node_stores, strict=True))
        nodes = {name: known.get(name, {}) for name in (*known, *ends)}
        edges = dict(zip(data.edge_types, data.edge_stores, strict=True))
        return _join(
            {name: _num_nodes(f"data['{name}']", store) for name, store in nodes.items()},
            {name: store.get("x") for name, store in nodes.items()},
            {t: _need(f"data{list(t)}", store, "edge_index") for t, store in edges.items()},
            {t: store.get("edge_weight") for t, store in edges.items()},
        )
    edge_index, edge_type = _need("data", data, "edge_index"), _need("data", data, "edge_type")
    sizes = (_num_nodes("data", data), data.get("num_relations"))
    return _typed(edge_index, edge_type, *sizes, data.get("x"), data.get("edge_weight"))


def _need(what: str, store: Mapping[str, Any], name: str) -> Tensor:
    if store.get(name) is None:
        raise InputError(f"{what} has no {name}: set {what}.{name}")
    return store[name]


def _num_nodes(what: str, store: Mapping[str, Any]) -> int:
    # Not from the edges, as PyG would: the last nodes may have none.
    if store.get("num_nodes") is None and store.get("x") is None:
        raise InputError(
            f"{what} has neither num_nodes nor x: set {what}.num_nodes to the number of its nodes"
        )
    return len(store["x"]) if store.get("num_nodes") is None else int(store["num_nodes"])


def to_dgl(graph: TripleGraph) -> DGLGraph:
    """DGL's homogeneous graph, without the names of types.

    It has edata[dgl.ETYPE], and ndata["feat"] and edata["weight"] where given.
    """
    dgl: Any = import_dgl()
    head, relation, tail = graph.triples.unbind(1)
    out = dgl.graph((head, tail), num_nodes=graph.num_nodes)
    out.edata[dgl.ETYPE] = relation
    if graph.x is not None:
        out.ndata["feat"] = graph.x
    if graph.weight is not None:
        out.edata["weight"] = graph.weight
    return out


def to_dgl_hetero(graph: TripleGraph) -> DGLGraph:
    """DGL's heterograph, a canonical edge type for each relation.

    It has data "feat" for each node type and "weight" for each edge type where given; edges keep
    their order within a relation. DGL sorts both kinds of types by name, so ids that are read back
    may be others.
    """
    dgl: Any = import_dgl()
    if graph.num_relations == 0:
        raise InputError("a graph of 0 relations: DGL's heterographs need 1; use to_dgl")
    relations = list(graph.by_relation())
    edges = {edge_type: (pairs[0], pairs[1]) for edge_type, pairs, _ in relations}
    out = dgl.heterograph(edges, num_nodes_dict=graph.node_counts)
    if graph.x is not None:
        for name, ids in graph.node_ids.items():
            out.nodes[name].data["feat"] = graph.x[ids]
    for edge_type, _, weight in relations:
        if weight is not None:
            out.edges[edge_type].data["weight"] = weight
    return out


def from_dgl(graph: DGLGraph, num_relations: int | None = None) -> TripleGraph:
    """Read a graph of DGL, with node features in "feat" and edge weights in "weight".

    Args:
        graph: homogeneous, with the relation of each edge in edata[dgl.ETYPE], edata["rel_type"] or
            edata["etype"]; or a heterograph, whose edge types are the relations, in DGL's order.
        num_relations: of a homogeneous graph; one more than the greatest relation where None.

    Raises:
        InputError: relations are missing or out of range, or node types have features of different
        widths.
    """
    dgl: Any = import_dgl()
    edges = {t: torch.stack(graph.edges(order="eid", etype=t)) for t in graph.canonical_etypes}
    if graph.is_homogeneous:
        keys = [key for key in (dgl.ETYPE, "rel_type", "etype") if key in graph.edata]
        if keys:
            (pairs,), edge_type = edges.values(), graph.edata[keys[0]]
            x, weight = graph.ndata.get("feat"), graph.edata.get("weight")
            return _typed(pairs, edge_type, graph.num_nodes(), num_relations, x, weight)
        if ("_N", "_E", "_N") in edges:  # DGL's names where nobody gave any
            raise InputError(
                "graph has no edge types: set graph.edata['rel_type'] to each edge's relation"
            )
    return _join(
        {name: graph.num_nodes(name) for name in graph.ntypes},
        {name: graph.nodes[name].data.get("feat") for name in graph.ntypes},
        edges,
        {t: graph.edges[t].data.get("weight") for t in edges},
    )


def _typed(
    edge_index: Tensor,
    edge_type: Tensor,
    num_nodes: int,
    num_relations: int | None,
    x: Tensor | None,
    weight: Tensor | None,
) -> TripleGraph:
    _check_shape("edge_index", edge_index, 2, None)
    _check_shape("edge types (relations)", edge_type, edge_index.shape[1])
    if num_relations is None:
        num_relations = int(edge_type.max()) + 1 if len(edge_type) else 0
    _check_ids("edge types (relations)", edge_type, num_relations)
    triples = torch.stack([edge_index[0], edge_type, edge_index[1]], 1)
    return TripleGraph(triples, num_nodes, num_relations, x, weight)


def _join(
    counts: dict[str, int],
    features: dict[str, Tensor | None],
    edges: dict[EdgeType, Tensor],
    weights: dict[EdgeType, Tensor | None],
) -> TripleGraph:
    starts = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
    triples = [torch.empty(0, 3, dtype=torch.int64)]
    for relation, (edge_type, edge_index) in enumerate(edges.items()):
        _check_shape(f"edge_index of {edge_type}", edge_index, 2, None)
        ends = []
        for end, node_type in zip(edge_index, edge_type[::2], strict=True):
            _check_ids(f"{node_type} of {edge_type}", end, counts[node_type])
            ends.append(end + starts[node_type])
        triples.append(torch.stack([ends[0], torch.full_like(ends[0], relation), ends[1]], 1))
    sizes = {edge_type: edge_index.shape[1] for edge_type, edge_index in edges.items()}
    x = _join_rows("node features", counts, features)
    weight = _join_rows("edge weights", sizes, weights)
    all_triples, num_nodes = torch.cat(triples[1:] or triples), sum(counts.values())
    return TripleGraph(all_triples, num_nodes, len(edges), x, weight, counts, tuple(edges))


def _join_rows(
    what: str, sizes: Mapping[Any, int], rows: Mapping[Any, Tensor | None]
) -> Tensor | None:
    shapes = {name: tuple(part.shape) for name, part in rows.items() if part is not None}
    if not shapes:
        return None
    (_, *width), *_ = shapes.values()
    if shapes != {name: (size, *width) for name, size in sizes.items()}:
        raise InputError(
            f"{what} of shapes {shapes}: expected rows {dict(sizes)} and one width for all types; "
            "project them to one width, or remove them from all"
        )
    return torch.cat([part for part in rows.values() if part is not None])


def _check_shape(what: str, values: Tensor | None, *shape: int | None) -> None:
    """Refuse values of another shape; None stands for any size."""
    if values is None:
        return
    sizes = zip(values.shape, shape, strict=False)
    if values.dim() != len(shape) or any(size not in (None, given) for given, size in sizes):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{what} of shape {tuple(values.shape)}: expected [{expected}]; reshape")


def _check_ids(what: str, ids: Tensor, size: int) -> None:
    if ids.numel() and (ids.is_floating_point() or ids.min() < 0 or ids.max() >= size):
        raise InputError(
            f"{what} are {ids.dtype} from {ids.min().item()} to {ids.max().item()}: expected "
            f"integers at least 0 and below {size}; correct the edges or this number"
        )
