"""The graph that messages travel on: both directions of every triple, sorted by target."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.sparse import SparsePattern

Moved = TypeVar("Moved", "Topology", "MessageGraph")


@dataclass(frozen=True, eq=False)
class Topology:
    """Who sends to whom: what stays the same when edges are weighted, dropped or masked.

    Args:
        num_nodes: N.
        num_relations: R, without inverses; the inverse of r is r + R.
        source, target, relation: int64 [M], messages sorted by (target, relation); relation in
            [0, 2R). M = 2E, fewer in a subgraph.
        direction: int64 [M], 0 forward, 1 inverse.
        edge_id: int64 [M], the triple that the message comes from, in [0, E).
        group: int64 [M], consecutive number of the message's (target, relation) pair.
        num_edges: E.
        num_groups: number of distinct (target, relation) pairs.
    """

    num_nodes: int
    num_relations: int
    source: Tensor
    target: Tensor
    relation: Tensor
    direction: Tensor
    edge_id: Tensor
    group: Tensor
    num_edges: int
    num_groups: int

    @cached_property
    def pointer(self) -> Tensor:
        """int64 [N + 1]: the messages into node v are those from pointer[v] to pointer[v + 1]."""
        nodes = torch.arange(self.num_nodes + 1, device=self.target.device)
        return torch.searchsorted(self.target, nodes)

    @cached_property
    def by_node(self) -> SparsePattern:
        """Pattern [N, N]: targets by sources."""
        return SparsePattern.build(self.target, self.source, (self.num_nodes, self.num_nodes))

    @cached_property
    def by_direction(self) -> SparsePattern:
        """Pattern [2N, N]: targets of forward messages, then of inverse ones, by sources."""
        row = self.direction * self.num_nodes + self.target
        return SparsePattern.build(row, self.source, (2 * self.num_nodes, self.num_nodes))

    @cached_property
    def by_relation(self) -> SparsePattern:
        """Pattern [2N, 2R]: targets of forward messages, then of inverse ones, by relations."""
        row = self.direction * self.num_nodes + self.target
        shape = (2 * self.num_nodes, 2 * self.num_relations)
        return SparsePattern.build(row, self.relation, shape)


@dataclass(frozen=True, eq=False)
class MessageGraph:
    """A weighted message graph with optional text evidence on its edges.

    Args:
        topology: who sends to whom.
        edge_weight: float [E], one weight a triple, shared by its two messages; 0 means removed.
        evidence: float [K, d_t], encodings of the evidence, or None.
        evidence_index: int64 [E], each triple's row of `evidence`, K where it has none, or None.
        fixed_norms: float [2, M], `norm` and `symmetric_norm` that a subgraph has from its whole
            graph; None where they are counted here.
        scale: float [M], what a message weighs more because others were not drawn; 1 where None.
    """

    topology: Topology
    edge_weight: Tensor
    evidence: Tensor | None = None
    evidence_index: Tensor | None = None
    fixed_norms: Tensor | None = None
    scale: Tensor | None = None

    @staticmethod
    def build(
        triples: Tensor,
        num_nodes: int,
        num_relations: int,
        weight: Tensor | None = None,
        evidence: Tensor | None = None,
    ) -> MessageGraph:
        """Add inverse edges and sort.

        Args:
            triples: int64 [E, 3], (head, relation, tail); the message goes from head to tail and,
                inverse, back.
            num_nodes: N.
            num_relations: R, without inverses.
            weight: float [E], not negative; 1 where None. Constants: no gradient flows to them.
            evidence: float [E, d_t], the encoding of each edge's own text; a row of zeros means
                none.

        Raises:
            InputError: an index out of range, or a wrong shape, or a weight that is negative or not
            finite.
        """
        triples = triples.long()
        _check(triples, num_nodes, num_relations)
        edges = triples.shape[0]
        if weight is None:
            weight = torch.ones(edges, device=triples.device)
        weight = weight.detach()
        if weight.shape != (edges,) or not bool((weight >= 0).all() & weight.isfinite().all()):
            raise InputError(
                f"edge weights of shape {tuple(weight.shape)} for {edges} triples: "
                "expected one finite weight ≥ 0 a triple; check the weights of the accepted triples"
            )
        topology = _sorted_both_ways(triples, num_nodes, num_relations)
        if evidence is None:
            return MessageGraph(topology, weight)
        if evidence.dim() != 2 or evidence.shape[0] != edges:
            raise InputError(
                f"edge evidence of shape {tuple(evidence.shape)} for {edges} triples: "
                "expected one row a triple; give zeros where a triple has no evidence"
            )
        rows = evidence.detach().ne(0).any(dim=1).nonzero().squeeze(1)
        index = torch.full((edges,), rows.numel(), device=triples.device)
        index[rows] = torch.arange(rows.numel(), device=triples.device)
        return MessageGraph(topology, weight, evidence[rows], index)

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.topology.num_nodes

    @property
    def num_relations(self) -> int:
        """R, without inverses."""
        return self.topology.num_relations

    @property
    def num_edges(self) -> int:
        """E, the number of triples (dropped ones included)."""
        return self.topology.num_edges

    @property
    def source(self) -> Tensor:
        """int64 [M], the node that each message leaves."""
        return self.topology.source

    @property
    def target(self) -> Tensor:
        """int64 [M], the node that each message reaches; ascending."""
        return self.topology.target

    @property
    def relation(self) -> Tensor:
        """int64 [M], in [0, 2R)."""
        return self.topology.relation

    @property
    def direction(self) -> Tensor:
        """int64 [M], 0 forward, 1 inverse."""
        return self.topology.direction

    @property
    def edge_id(self) -> Tensor:
        """int64 [M], the triple that each message comes from."""
        return self.topology.edge_id

    @cached_property
    def weight(self) -> Tensor:
        """float [M], the weight of each message."""
        weight = self.edge_weight[self.edge_id]
        return weight if self.scale is None else weight * self.scale

    @cached_property
    def norm(self) -> Tensor:
        """float [M], 1 / c(v, r), c the summed weight of r-messages into v; 0 where c is 0."""
        if self.fixed_norms is not None:
            return self.fixed_norms[0]
        return self._by_group[self.topology.group]

    @cached_property
    def symmetric_norm(self) -> Tensor:
        """float [M], 1 / sqrt(d_out(u) · d_in(v)), weighted degrees within each direction."""
        if self.fixed_norms is not None:
            return self.fixed_norms[1]
        return self._symmetric(self.source, self.target, self.direction)

    def norms_of(self, messages: Tensor) -> Tensor:
        """`norm` and `symmetric_norm` of some messages, without those of all.

        Args:
            messages: int64 [m], positions in [0, M).

        Returns:
            float [2, m].
        """
        if self.fixed_norms is not None:
            return self.fixed_norms.index_select(1, messages)
        group, *ends = (
            field.index_select(0, messages)
            for field in (self.topology.group, self.source, self.target, self.direction)
        )
        return torch.stack([self._by_group.index_select(0, group), self._symmetric(*ends)])

    @cached_property
    def _by_group(self) -> Tensor:
        """1 / c of each group, [num_groups]."""
        count = self.weight.new_zeros(self.topology.num_groups)
        return _inverse(count.index_add_(0, self.topology.group, self.weight))

    @cached_property
    def _by_degree(self) -> Tensor:
        """1 / sqrt(d_out) and 1 / sqrt(d_in), [2, 2N], forward first."""
        shift = self.direction * self.num_nodes
        degree = self.weight.new_zeros(2, 2 * self.num_nodes)
        degree[0].index_add_(0, self.source + shift, self.weight)
        degree[1].index_add_(0, self.target + shift, self.weight)
        return _inverse(degree.sqrt())

    def _symmetric(self, source: Tensor, target: Tensor, direction: Tensor) -> Tensor:
        shift = direction * self.num_nodes
        leaving, reaching = self._by_degree
        return leaving.index_select(0, source + shift) * reaching.index_select(0, target + shift)

    def drop(self, keep: Tensor) -> MessageGraph:
        """The graph without some triples, both of whose directions go; norms are counted anew.

        Args:
            keep: bool [E], in the order of the triples given to `build`.

        Returns:
            A graph on the same topology: a dropped triple keeps its place with weight 0, so nothing
            is sorted. Norms that are fixed stay.
        """
        return replace(self, edge_weight=self.edge_weight * keep)

    def mask_evidence(self, keep: Tensor) -> MessageGraph:
        """The graph with the evidence of some triples taken away; the triples themselves stay.

        Args:
            keep: bool [E], False where a triple's own text must not be seen (it is a training
                target, or drawn to be dropped).
        """
        if self.evidence is None or self.evidence_index is None:
            return self
        index = self.evidence_index.masked_fill(~keep, self.evidence.shape[0])
        return replace(self, evidence_index=index)

    def to(self, device: torch.device | str) -> MessageGraph:
        """The graph on another device; itself where it is there already."""
        if self.edge_weight.device == torch.device(device):
            return self
        return replace(_moved(self, device), topology=_moved(self.topology, device))


def _moved(value: Moved, device: torch.device | str) -> Moved:
    """A dataclass with its tensors on another device."""
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    moved: dict[str, Any] = {
        name: item.to(device) for name, item in given.items() if isinstance(item, Tensor)
    }
    return replace(value, **moved)


def _inverse(value: Tensor) -> Tensor:
    return torch.where(value > 0, 1 / value.clamp(min=torch.finfo(value.dtype).tiny), 0.0)


def _sorted_both_ways(triples: Tensor, num_nodes: int, num_relations: int) -> Topology:
    head, relation, tail = triples.unbind(1)
    source, target = torch.cat([head, tail]), torch.cat([tail, head])
    both = torch.cat([relation, relation + num_relations])
    # Source is part of the key, so that the order of the triples given does not change any sum.
    order = torch.argsort(source, stable=True)
    order = order[torch.argsort((target * (2 * num_relations) + both)[order], stable=True)]
    key = (target * (2 * num_relations) + both)[order]
    group = torch.zeros_like(key)
    group[1:] = (key[1:] != key[:-1]).cumsum(0)
    edges = triples.shape[0]
    return Topology(
        num_nodes=num_nodes,
        num_relations=num_relations,
        source=source[order],
        target=target[order],
        relation=both[order],
        direction=(order >= edges).long(),
        edge_id=order % max(edges, 1),
        group=group,
        num_edges=edges,
        num_groups=int(group[-1]) + 1 if edges else 0,
    )


def _check(triples: Tensor, num_nodes: int, num_relations: int) -> None:
    if triples.dim() != 2 or triples.shape[1] != 3:
        raise InputError(
            f"triples of shape {tuple(triples.shape)}: expected [E, 3] "
            "(head, relation, tail); reshape them"
        )
    if triples.shape[0] == 0:
        return
    low, high = triples.amin(0).tolist(), triples.amax(0).tolist()
    for column, name, size in (
        (0, "head", num_nodes),
        (1, "relation", num_relations),
        (2, "tail", num_nodes),
    ):
        if low[column] < 0 or high[column] >= size:
            raise InputError(
                f"{name} ids from {low[column]} to {high[column]} in the triples: "
                f"expected ids from 0 to {size - 1}; build the graph with the vocabulary that the "
                "triples were read with"
            )
