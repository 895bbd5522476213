"""Mini-batches of a large graph: a few messages of each node's neighbourhood, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph, Topology
from relgnn.spans import spread


@dataclass(frozen=True, eq=False)
class Subgraph:
    """Some messages of a larger graph, with numbers of their own for nodes and triples.

    Args:
        nodes: int64 [n], the larger graph's number of each node, seeds first.
        edges: int64 [e], the larger graph's number of each triple, ascending; it tells which
            triples to `drop` from `graph`, or whose evidence to mask.
        graph: n nodes and e triples. It holds messages, not triples: one direction of a triple may
            be here without the other. Its norms are the larger graph's, its messages are scaled.
        num_seeds: how many of the nodes are seeds, those that the batch is about.
    """

    nodes: Tensor
    edges: Tensor
    graph: MessageGraph
    num_seeds: int


class NeighbourSampler:
    """Draws a neighbourhood of limited size around seeds.

    At hop k every node that hop k - 1 reached first (at hop 0 every seed) draws at most fan_out[k]
    of the messages into it, of any relation and direction, without replacement. Norms n_e are the
    full graph's, and a drawn message is scaled by deg(v) / k(v), with deg(v) messages into v of
    which k(v) are drawn, so that the sum of one layer is equal in expectation to the full graph's:

        E[ Σ_{e drawn} deg(v) / k(v) · w_e n_e φ_e ] = Σ_{e into v} w_e n_e φ_e

    What follows an activation or a softmax is equal only in the limit of large fan-outs. A node
    draws once, so it hears the same messages in every layer; with fan-outs of None, L hops give
    seeds the very output that L layers give on the full graph.

    Hamilton, Ying and Leskovec, Inductive Representation Learning on Large Graphs, NIPS 2017.

    Args:
        graph: the full graph; it is used where it is, and two arrays of N numbers are added.
        fan_out: for each hop a number of messages, at least 1, or None for all of them.

    Raises:
        InputError: no hop, or a fan-out below 1.
    """

    def __init__(self, graph: MessageGraph, fan_out: Sequence[int | None]) -> None:
        if not fan_out or any(most is not None and most < 1 for most in fan_out):
            raise InputError(
                f"fan-out {tuple(fan_out)}: expected a number of at least 1 for each layer, or "
                "None for all neighbours"
            )
        self.graph, self.fan_out = graph, tuple(fan_out)
        self._local = local_numbers(graph)

    def sample(self, seeds: Tensor, generator: torch.Generator) -> Subgraph:
        """Draw the neighbourhood of some nodes, in time and memory of what is drawn.

        Args:
            seeds: int64 [S], distinct; they become nodes 0 to S - 1, in this order.
            generator: the only source of chance.

        Raises:
            InputError: a seed is out of range or there twice.
        """
        topology, local = self.graph.topology, self._local
        nodes = frontier = _checked(seeds, topology)
        messages, scales = [], []
        try:
            number(local, nodes)
            for most in self.fan_out:
                drawn, scale = _draw(topology, frontier, most, generator)
                messages.append(drawn)
                scales.append(scale)
                source = topology.source.index_select(0, drawn)
                frontier = source[local.index_select(0, source) < 0].unique()
                number(local, frontier, start=len(nodes))
                nodes = torch.cat([nodes, frontier])
            return induce(
                self.graph, nodes, len(seeds), torch.cat(messages), torch.cat(scales), local
            )
        finally:
            local[nodes] = -1  # all that was numbered, also after an error


def local_numbers(graph: MessageGraph) -> Tensor:
    """int32 [N] of -1: where batches note their nodes' numbers, to be -1 again after each."""
    return torch.full((graph.num_nodes,), -1, dtype=torch.int32, device=graph.target.device)


def number(local: Tensor, nodes: Tensor, start: int = 0) -> None:
    """Note start, start + 1, ... as the numbers of nodes (int64 [n])."""
    end = start + len(nodes)
    local[nodes] = torch.arange(start, end, dtype=local.dtype, device=local.device)


def incoming(topology: Topology, nodes: Tensor) -> Tensor:
    """All messages into some nodes.

    Args:
        topology: N nodes, M messages.
        nodes: int64 [n].

    Returns:
        int64 [m], positions of messages, node after node.
    """
    return spread(*_rows(topology, nodes))[1]


def induce(
    graph: MessageGraph,
    nodes: Tensor,
    num_seeds: int,
    messages: Tensor,
    scale: Tensor,
    local: Tensor,
) -> Subgraph:
    """The subgraph of some messages of a graph.

    Args:
        graph: the larger graph.
        nodes: int64 [n], with the ends of all messages among them.
        num_seeds: how many of the first nodes are seeds.
        messages: int64 [m], positions, ordered by the new number of their targets and then as in
            the graph.
        scale: float [m], what the weight of each message is multiplied by.
        local: int32 [N], the new number of each node.
    """
    whole = graph.topology
    source, target, relation, direction, edge_id, group = (
        # four times as fast as indexing on a CPU
        field.index_select(0, messages)
        for field in (
            whole.source,
            whole.target,
            whole.relation,
            whole.direction,
            whole.edge_id,
            whole.group,
        )
    )
    edges, edge_id = edge_id.unique(return_inverse=True)
    new_group = torch.zeros_like(group)
    new_group[1:] = (group[1:] != group[:-1]).cumsum(0)
    topology = Topology(
        num_nodes=len(nodes),
        num_relations=whole.num_relations,
        source=local.index_select(0, source).long(),
        target=local.index_select(0, target).long(),
        relation=relation,
        direction=direction,
        edge_id=edge_id,
        group=new_group,
        num_edges=len(edges),
        num_groups=int(new_group[-1]) + 1 if len(messages) else 0,
    )
    evidence, index = _evidence(graph, edges)
    if graph.scale is not None:
        scale = scale * graph.scale[messages]
    small = MessageGraph(
        topology,
        graph.edge_weight[edges],
        evidence,
        index,
        fixed_norms=graph.norms_of(messages),
        scale=scale.to(graph.edge_weight.dtype),
    )
    return Subgraph(nodes, edges, small, num_seeds)


def _evidence(graph: MessageGraph, edges: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The evidence of some triples and each one's row of it, without the rows of all others."""
    if graph.evidence is None or graph.evidence_index is None:
        return None, None
    rows = graph.evidence_index[edges]
    there = rows < graph.evidence.shape[0]
    evidence = graph.evidence[rows[there]]
    return evidence, torch.where(there, there.cumsum(0) - 1, evidence.shape[0])


def _draw(
    topology: Topology, nodes: Tensor, most: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Messages [m] into nodes, at most `most` a node, and the degree over the number of draws."""
    if most is None:
        messages = incoming(topology, nodes)
        return messages, torch.ones(len(messages), device=messages.device)
    first, degree = _rows(topology, nodes)
    count = degree.clamp(max=most)
    messages = spread(first, count)[1]
    crowded = degree > most
    drawn = first[crowded][:, None] + _choose(degree[crowded], most, generator)
    messages[crowded.repeat_interleave(count)] = drawn.flatten()
    return messages, (degree / count).repeat_interleave(count)


def _choose(size: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` different numbers below each size, ascending: [n] to [n, count], in O(n · count²).

    Floyd's algorithm: every subset is as likely, and a size costs nothing. Bentley and Floyd,
    Programming Pearls: A Sample of Brilliance, CACM 1987.
    """
    uniform = torch.rand(
        count, len(size), generator=generator, dtype=torch.float64, device=generator.device
    ).to(size.device)
    chosen = torch.empty(len(size), count, dtype=torch.int64, device=size.device)
    for step in range(count):
        last = size - count + step
        candidate = (uniform[step] * (last + 1)).long()
        taken = (chosen[:, :step] == candidate[:, None]).any(1)
        chosen[:, step] = torch.where(taken, last, candidate)
    return chosen.sort(1).values


def _rows(topology: Topology, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Where the messages into nodes begin, and how many they are."""
    first = topology.pointer[nodes]
    return first, topology.pointer[nodes + 1] - first


def _checked(seeds: Tensor, topology: Topology) -> Tensor:
    if seeds.dim() != 1 or seeds.is_floating_point():
        raise InputError(f"seeds of shape {tuple(seeds.shape)}: expected node numbers, int64 [S]")
    if len(seeds) and not 0 <= int(seeds.min()) <= int(seeds.max()) < topology.num_nodes:
        raise InputError(
            f"seeds from {int(seeds.min())} to {int(seeds.max())}: expected nodes from 0 to "
            f"{topology.num_nodes - 1}; take them from the graph's own vocabulary"
        )
    if len(seeds.unique()) != len(seeds):
        raise InputError(
            f"{len(seeds)} seeds, {len(seeds.unique())} of them distinct: expected each node once; "
            "pass seeds.unique()"
        )
    return seeds.long().to(topology.target.device)
