"""Graph convolution of nodes of one kind, and the decoder of pairs that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from relgnn.dropout import Dropout
from relgnn.gnn.backends import weighted_spmm
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import ROW_ELEMENTS
from relgnn.gnn.precision import product_dtype, widen

DENSE = 0.05
"""Messages over pairs of nodes from which a graph counts as dense."""


def link_graph(pairs: Tensor, num_nodes: int) -> MessageGraph:
    """The message graph of edges without a relation; each sends both ways.

    Args:
        pairs: int64 [E, 2].
        num_nodes: N.

    Raises:
        InputError: an index out of range.
    """
    relation = torch.zeros_like(pairs[:, :1])
    return MessageGraph.build(torch.cat([pairs[:, :1], relation, pairs[:, 1:]], 1), num_nodes, 1)


def degrees(graph: MessageGraph) -> Tensor:
    """Summed weight of the messages into each node, float [N]."""
    return graph.weight.new_zeros(graph.num_nodes).index_add_(0, graph.target, graph.weight)


class NodeVectors(nn.Module):
    """First vectors of nodes: a projection of what is given of them, a learned one, or their sum.

    Learned vectors begin orthogonal: then an inner product of propagated ones counts common
    neighbours (Ma et al., see `Propagation`).

    Args:
        num_nodes: N.
        dim: of the vectors.
        features: what is given, float32 [N, d], kept outside the checkpoint; or None.
        embedding: whether there are learned ones; must be so without features.
    """

    features: Tensor | None

    def __init__(self, num_nodes: int, dim: int, features: Tensor | None, embedding: bool) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.projection = None if features is None else nn.Linear(features.shape[1], dim)
        own = nn.init.orthogonal_(torch.empty(num_nodes, dim)) if embedding else None
        self.embedding = None if own is None else nn.Parameter(own)

    def forward(self, nodes: Tensor | None = None) -> Tensor:
        """Vectors [N, dim] of all nodes, or [n, dim] of some, int64 [n]."""
        own: Tensor | None = self.embedding
        given = self.features
        if nodes is not None:
            own = None if own is None else own[nodes]
            given = None if given is None else given[nodes]
        if self.projection is None or given is None:
            assert own is not None
            return own
        projected: Tensor = self.projection(given)
        return projected if own is None else projected + own


def neighbour_sums(graph: MessageGraph, device: str) -> Callable[[Tensor], Tensor]:
    """From vectors x [N, d] to what the neighbours of each node send, weighted: A x, [N, d].

    Where products of matrices run in half precision and the graph is dense, it is one: on ogbl-ddi
    (a message for every ninth pair of nodes) bfloat16 products took a quarter of the time of sums
    over messages at width 256, an eighth at 512.

    Args:
        graph: N nodes.
        device: its type, "cpu" or "cuda".
    """
    nodes = graph.num_nodes
    if len(graph.source) <= DENSE * nodes * nodes or not torch.is_autocast_enabled(device):
        return partial(weighted_spmm, graph.topology.by_node, graph.weight)
    matrix = graph.weight.new_zeros(nodes * nodes)
    matrix.index_add_(0, graph.target * nodes + graph.source, graph.weight)
    half = matrix.view(nodes, nodes).to(product_dtype(matrix))
    return lambda x: widen(half @ x)


def row_blocks(
    graph: MessageGraph, width: int
) -> Iterator[tuple[slice, Callable[[Tensor], Tensor]]]:
    """Some nodes at a time, and what sums over the messages into them: without gradients, all that
    has to be held besides the vectors before and after a step.

    Args:
        graph: N nodes.
        width: d of the vectors.
    """
    size = max(1, ROW_ELEMENTS // max(width, 1))
    for start in range(0, max(graph.num_nodes, 1), size):
        stop = min(start + size, graph.num_nodes)
        part, entries = graph.topology.by_node.rows(start, stop)
        yield slice(start, stop), partial(weighted_spmm, part, graph.weight[entries])


class Propagation(nn.Module):
    """Steps of graph convolution, each with weights of its own for the node itself.

    h^{k+1} = act( Â h^k W_k + h^k U_k + b_k ),  Â = D^{-1/2} (A + I) D^{-1/2},  D degrees of A + I

    Without act it is linear, as in Ma et al., Reconsidering the Performance of GAE in Link
    Prediction, CIKM 2025; with layer normalisation, ReLU and dropout between two steps it is the
    network of Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks,
    ICLR 2017. U is from Hamilton et al., Inductive Representation Learning on Large Graphs, NIPS
    2017.

    Args:
        dim: d of h⁰ and of every step.
        steps: K.
        nonlinear: whether normalisation, ReLU and dropout follow every step but the last.
        dropout: share dropped there.
    """

    def __init__(self, dim: int, steps: int, nonlinear: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(dim, dim) for _ in range(steps))
        self.own = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(steps))
        between = steps - 1 if nonlinear else 0
        self.between = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), Dropout(dropout)) for _ in range(between)
        )

    def forward(self, x: Tensor, graph: MessageGraph, degree: Tensor | None = None) -> Tensor:
        """Pass messages.

        Args:
            x: h⁰, [N, d].
            graph: over the same nodes.
            degree: float [N], of A; counted from the graph's weights where None. A drawn part of a
                graph has to be given the whole graph's.
        """
        degree = degrees(graph) if degree is None else degree
        scale = (degree + 1).rsqrt()[:, None]
        if torch.is_grad_enabled():
            sums = neighbour_sums(graph, x.device.type)
            blocks = [(slice(None), sums)]
        else:
            blocks = list(row_blocks(graph, x.shape[1]))
        h = x
        for step, (weight, own) in enumerate(zip(self.weights, self.own, strict=True)):
            scaled = h * scale
            parts = []
            for rows, sums in blocks:
                reached = (sums(scaled) + scaled[rows]) * scale[rows]
                part = weight(reached) + own(h[rows])
                parts.append(self.between[step](part) if step < len(self.between) else part)
            h = parts[0] if len(parts) == 1 else torch.cat(parts)
        return h


class PairDecoder(nn.Module):
    """Score of a pair of nodes, the same in both orders: an MLP on the product of their vectors.

    z⁰ = u ∘ v,  z^{k+1} = dropout ReLU( W_k z^k + b_k + z⁰ ),  s = ⟨w, z^L⟩ + b

    Ma et al., see `Propagation`.

    Args:
        dim: of u and v.
        layers: L hidden layers; with 0 the score is a weighted inner product.
        dropout: share dropped of a hidden layer.
    """

    def __init__(self, dim: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.hidden = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))
        self.out = nn.Linear(dim, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Scores [B] of vectors u and v, [B, d]."""
        product = z = left * right
        for layer in self.hidden:
            z = self.dropout(torch.relu(layer(z) + product))
        scores: Tensor = self.out(z).squeeze(1)
        return scores
