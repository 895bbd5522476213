"""Mini-batches of a large graph: parts with few messages between them, a few parts at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.sampling import Subgraph, incoming, induce, local_numbers, number

SLACK = 0.05  # how much larger or smaller than the mean a part may be
CLUSTER_SLACK = 0.25  # more for clusters, or the score would split communities as large as a part
CHUNKS = 32  # nodes of one chunk move at the same time
CLUSTER_ROUNDS, REFINE_ROUNDS = 5, 8
SHRINK = 0.1  # clustering ends where fewer than this share of the nodes join another


class ClusterBatches:
    """Batches of whole parts: every node once an epoch, with the messages within its batch.

    Each epoch puts p parts into p / q batches of q at random. The norms are the full graph's. A
    message between two parts is there with probability (q - 1) / (p - 1), so it is scaled by
    (p - 1) / (q - 1), and the sum of one layer is equal in expectation to that on the full graph.
    With q = 1 messages between parts are never there: that is biased, the more so the more messages
    are cut. With q = p the one batch is the full graph.

    Chiang et al., Cluster-GCN: An Efficient Algorithm for Training Deep and Large Graph
    Convolutional Networks, KDD 2019; they count the norms of each batch anew instead.

    Args:
        graph: the full graph, N nodes.
        parts: int64 [N], the part of each node, in [0, p); no part is empty.
        parts_per_batch: q, a divisor of p.
        generator: the only source of chance; each iteration draws anew.

    Raises:
        InputError: parts of another length, an empty part, or q that does not divide p.
    """

    def __init__(
        self, graph: MessageGraph, parts: Tensor, parts_per_batch: int, generator: torch.Generator
    ) -> None:
        _check_parts(parts, graph.num_nodes)
        self.graph, self.generator = graph, generator
        self.parts = parts.to(graph.target.device).long()
        sizes = torch.bincount(self.parts)
        self.num_parts, self.parts_per_batch = len(sizes), parts_per_batch
        if not bool(sizes.all()):
            raise InputError(
                f"part {int(sizes.argmin())} of {len(sizes)} has no node: expected numbers from 0 "
                "without a gap; number the parts anew"
            )
        if parts_per_batch < 1 or self.num_parts % parts_per_batch:
            raise InputError(
                f"{parts_per_batch} parts a batch of {self.num_parts} parts: expected a divisor of "
                f"{self.num_parts}"
            )
        self._members = self.parts.argsort(stable=True).split(sizes.tolist())
        self._local = local_numbers(graph)

    def __len__(self) -> int:
        return self.num_parts // self.parts_per_batch

    def __iter__(self) -> Iterator[Subgraph]:
        device = self.generator.device
        order = torch.randperm(self.num_parts, generator=self.generator, device=device)
        for chosen in order.view(len(self), self.parts_per_batch).tolist():
            yield self._batch(torch.cat([self._members[part] for part in chosen]).sort().values)

    def _batch(self, nodes: Tensor) -> Subgraph:
        topology, local = self.graph.topology, self._local
        try:
            number(local, nodes)
            messages = incoming(topology, nodes)
            source = topology.source.index_select(0, messages)
            inside = local.index_select(0, source) >= 0
            messages, source = messages[inside], source[inside]
            cut = self.parts[source] != self.parts[topology.target.index_select(0, messages)]
            inverse_chance = (self.num_parts - 1) / max(self.parts_per_batch - 1, 1)
            scale = torch.where(cut, inverse_chance, 1.0)
            return induce(self.graph, nodes, len(nodes), messages, scale, local)
        finally:
            local[nodes] = -1


def partition(graph: MessageGraph, num_parts: int, generator: torch.Generator) -> Tensor:
    """Split the nodes into parts of about equal size with little message weight between them.

    Nodes join their neighbours' clusters, clusters those of theirs, and so on, none much larger
    than a part. A line of all nodes that keeps every cluster together is cut into equal pieces,
    which nodes at their borders then improve. Every step is label propagation with the score of
    linear deterministic greedy partitioning, |N(v) ∩ P| (1 - |P| / largest), in time near linear
    in the messages, on the CPU.

    Stanton and Kliot, Streaming Graph Partitioning for Large Distributed Graphs, KDD 2012;
    Meyerhenke, Sanders and Schulz, Partitioning Complex Networks via Size-Constrained Clustering,
    SEA 2014.

    Args:
        graph: N nodes.
        num_parts: p, from 1 to N.
        generator: the only source of chance.

    Returns:
        int64 [N], the part of each node. No part is empty, or more than 5 % (and what rounding
        adds) above or below N / p nodes.

    Raises:
        InputError: p is not from 1 to N.
    """
    nodes = graph.num_nodes
    if not 1 <= num_parts <= nodes:
        raise InputError(
            f"{num_parts} parts of a graph of {nodes} nodes: expected from 1 to {nodes}"
        )
    target, source, weight = (
        tensor.cpu().numpy() for tensor in (graph.target, graph.source, graph.weight)
    )
    adjacency, size = _adjacency(target, source, weight, nodes), np.ones(nodes)
    mean = nodes / num_parts
    place = _line(adjacency, size, (1 + CLUSTER_SLACK) * mean, generator)
    part = place * num_parts // nodes
    smallest, largest = max(1, int((1 - SLACK) * mean)), -int(-(1 + SLACK) * mean // 1)
    _propagate(adjacency, size, part, (smallest, largest), REFINE_ROUNDS, generator)
    return torch.from_numpy(part).to(graph.target.device)


def _adjacency(
    target: np.ndarray, source: np.ndarray, weight: np.ndarray, nodes: int
) -> sparse.csr_array:
    """Summed weights, [N, N], without those from a node to itself."""
    other = target != source
    entries = (weight[other], (target[other], source[other]))
    return sparse.csr_array(entries, shape=(nodes, nodes))


def _line(
    adjacency: sparse.csr_array, size: np.ndarray, largest: float, generator: torch.Generator
) -> np.ndarray:
    """The place of each node in a line in which clusters, and clusters of clusters, stay together.

    Args:
        adjacency: [n, n].
        size: [n], how much each node adds to a cluster.
        largest: no cluster is larger.
    """
    label = np.arange(len(size))
    _propagate(adjacency, size, label, (0, largest), CLUSTER_ROUNDS, generator)
    names, cluster = np.unique(label, return_inverse=True)
    connected = np.count_nonzero(np.diff(adjacency.indptr))
    if len(label) - len(names) <= SHRINK * connected:
        return _shuffled(len(label), generator)
    entries = adjacency.tocoo()
    coarse = _adjacency(cluster[entries.row], cluster[entries.col], entries.data, len(names))
    place = _line(coarse, np.bincount(cluster, size), largest, generator)
    return np.argsort(np.argsort(place[cluster], kind="stable"))


def _propagate(
    adjacency: sparse.csr_array,
    size: np.ndarray,
    label: np.ndarray,
    limits: tuple[float, float],
    rounds: int,
    generator: torch.Generator,
) -> None:
    """Let every node take the label that scores best, in place, within limits of labels' loads.

    Args:
        adjacency: [n, n].
        size: [n].
        label: int64 [n].
        limits: how small and how large the summed size of a label's nodes may become by a move.
        rounds: how often every node has a choice.
        generator: the order of the nodes, and which of two equal labels wins.
    """
    load = np.bincount(label, size)
    for _ in range(rounds):
        for nodes in np.array_split(_shuffled(len(label), generator), CHUNKS):
            own, weight = label[nodes], size[nodes]
            goal = _best(adjacency[nodes], weight, label, own, load, limits[1], generator)
            moving = np.flatnonzero(goal != own)
            room = limits[1] - load
            moving = moving[_fits(goal[moving], weight[moving], room)]
            spare = load - limits[0]
            moving = moving[_fits(own[moving], weight[moving], spare)]
            label[nodes[moving]] = goal[moving]
            load += np.bincount(goal[moving], weight[moving], len(load))
            load -= np.bincount(own[moving], weight[moving], len(load))


def _best(
    rows: sparse.csr_array,
    size: np.ndarray,
    label: np.ndarray,
    own: np.ndarray,
    load: np.ndarray,
    largest: float,
    generator: torch.Generator,
) -> np.ndarray:
    """The best label with room for each of n nodes, its own where none is better.

    Args:
        rows: [n, N], the nodes' rows of the adjacency.
        size, own: [n], their sizes and present labels.
        label: [N], the labels of all nodes.
        load: [L], the summed size of each label.
        largest: a load's limit.
    """
    members = sparse.csr_array(
        (np.ones(len(label)), label, np.arange(len(label) + 1)), shape=(len(label), len(load))
    )
    weight = rows @ members
    row = np.repeat(np.arange(len(own)), np.diff(weight.indptr))
    here = weight.indices == own[row]
    others = load[weight.indices] - here * size[row]
    score = weight.data * (1 - others / largest)
    device = generator.device
    tie_break = torch.rand(len(row), generator=generator, dtype=torch.float64, device=device)
    score *= 1 + 1e-6 * tie_break.cpu().numpy()
    score[~here & (others + size[row] > largest)] = 0
    best = np.zeros(len(own))
    filled = np.flatnonzero(np.diff(weight.indptr))
    if len(filled):
        best[filled] = np.maximum.reduceat(score, weight.indptr[filled])
    wins = (score > 0) & (score == best[row])
    goal = own.copy()
    goal[row[wins]] = weight.indices[wins]
    return goal


def _fits(box: np.ndarray, size: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Which items fit into their boxes [n], the first ones first, given the room in each box."""
    order = np.argsort(box, kind="stable")
    box, size = box[order], size[order]
    filled = np.cumsum(size)
    before = (filled - size)[np.searchsorted(box, box)]
    fits = np.empty(len(box), dtype=bool)
    fits[order] = filled - before <= room[box]
    return fits


def _shuffled(count: int, generator: torch.Generator) -> np.ndarray:
    return torch.randperm(count, generator=generator, device=generator.device).cpu().numpy()


def _check_parts(parts: Tensor, nodes: int) -> None:
    if parts.shape != (nodes,) or parts.is_floating_point():
        raise InputError(
            f"parts of shape {tuple(parts.shape)} for a graph of {nodes} nodes: expected one "
            "number a node, int64 [N]; partition this very graph"
        )
    if nodes and int(parts.min()) < 0:
        raise InputError(f"part {int(parts.min())}: expected numbers from 0")
