"""Sparse search over (query, node) pairs: which nodes send next, and where their messages go.

Zhu et al., A*Net: A Scalable Path-based Reasoning Approach for Knowledge Graphs, NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.sparse import SparsePattern
from relgnn.spans import spread


@dataclass(frozen=True)
class Budget:
    """How much one query may send in one step.

    Args:
        nodes: how many nodes send, the best first.
        edges: no further node sends once the nodes before it have sent this many messages; so one
            node's degree is the most that a step goes over it.

    Raises:
        InputError: either is below 1.
    """

    nodes: int
    edges: int

    def __post_init__(self) -> None:
        for name in ("nodes", "edges"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"budget of {getattr(self, name)} {name}: expected at least 1; give a larger "
                    "budget, or None to send from all nodes"
                )


@dataclass(frozen=True, eq=False)
class Visited:
    """The nodes that each query's messages have reached; row i of a state belongs to pair i.

    Args:
        key: int64 [M], query · N + node, ascending.
        num_nodes: N.
    """

    key: Tensor
    num_nodes: int

    @staticmethod
    def start(heads: Tensor, num_nodes: int) -> Visited:
        """Every query at its own head [B]; row b belongs to query b."""
        queries = torch.arange(heads.numel(), device=heads.device)
        return Visited(queries * num_nodes + heads, num_nodes)

    @cached_property
    def query(self) -> Tensor:
        """int64 [M], ascending."""
        return self.key // self.num_nodes

    @cached_property
    def node(self) -> Tensor:
        """int64 [M]."""
        return self.key % self.num_nodes

    def rows(self, query: Tensor, node: Tensor) -> Tensor:
        """The row of each pair (shapes that broadcast), M where the pair is not visited."""
        wanted = query * self.num_nodes + node
        place = torch.searchsorted(self.key, wanted)
        padded = torch.cat([self.key, self.key.new_full((1,), -1)])
        return torch.where(padded[place] == wanted, place, len(self.key))


@dataclass(frozen=True, eq=False)
class Expansion:
    """The messages of one step.

    Args:
        visited: the pairs after the step, M' of them.
        kept: int64 [M], the new row of each pair of before.
        pattern: shape (M', F): which pair each of the E' messages reaches, and which of the F
            chosen pairs sends it.
        message: int64 [E'], its position in the graph.
    """

    visited: Visited
    kept: Tensor
    pattern: SparsePattern
    message: Tensor


def choose(visited: Visited, priority: Tensor, graph: MessageGraph, budget: Budget) -> Tensor:
    """The pairs that send: each query's best by priority, within the budget.

    Args:
        visited: M pairs.
        priority: float [M]; of equals the smaller node id goes first.
        graph: tells how many messages each node sends (dropped ones count).
        budget: at least the best node of a query sends.

    Returns:
        int64 [F], rows of `visited`, ascending.
    """
    best = priority.argsort(descending=True, stable=True)
    best = best[visited.query[best].argsort(stable=True)]
    degree = graph.topology.by_node.column_pointer.diff()[visited.node[best]].long()
    # Rows are grouped by query before and after the sort, so one `first` fits both.
    first = torch.searchsorted(visited.query, visited.query)
    place = torch.arange(len(best), device=best.device) - first
    before = degree.cumsum(0) - degree
    chosen = (place < budget.nodes) & (before - before[first] < budget.edges)
    return best[chosen].sort().values


def expand(visited: Visited, chosen: Tensor, graph: MessageGraph) -> Expansion:
    """Follow all messages of the chosen pairs; those of weight 0 lead nowhere.

    Args:
        visited: M pairs.
        chosen: int64 [F], the rows of `visited` that send.
        graph: the message graph.

    Returns:
        The messages; memory is a few integers for each.
    """
    by_source = graph.topology.by_node
    node = visited.node[chosen]
    first = by_source.column_pointer[node].long()
    sender, place = spread(first, by_source.column_pointer[node + 1] - first)
    message = by_source.column_order[place]
    alive = graph.weight[message] > 0
    sender, message = sender[alive], message[alive]
    reached = visited.query[chosen][sender] * visited.num_nodes + graph.target[message]
    key, row = torch.unique(torch.cat([visited.key, reached]), return_inverse=True)
    kept, row = row[: len(visited.key)], row[len(visited.key) :]
    return Expansion(
        visited=Visited(key, visited.num_nodes),
        kept=kept,
        pattern=SparsePattern.build(row, sender, (len(key), len(chosen))),
        message=message,
    )
