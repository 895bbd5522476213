"""R-GCN with block-diagonal weights: as few vectors are multiplied as the graph allows.

The weights of a relation act on a whole vector, so messages cannot be summed first over relations
as with bases. But all messages of one relation into one target can be summed before they are
multiplied, and all messages of one relation out of one source are one product: pairs of (node,
relation), on whichever side a relation has fewer. FB15k-237's 544,230 messages are 62,000 products
(of 150,000 on the targets' side alone).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from relgnn.dropout import Dropout
from relgnn.errors import InputError
from relgnn.gnn import kernels
from relgnn.gnn.edges import TextCoefficient, check_relations
from relgnn.gnn.graph import MessageGraph, Topology
from relgnn.gnn.kernels import Spans
from relgnn.gnn.layers import Activation
from relgnn.gnn.precision import widen
from relgnn.gnn.sparse import SparsePattern

PAIR_ELEMENTS = 1 << 21
"""Numbers held at once for (target, relation) pairs: 8 MB in float32, which the cache can hold."""


_CHUNKS: WeakKeyDictionary[Topology, dict[int, list[PairChunk]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PairChunk:
    """Some pairs of a node and a relation, ordered by relation, all on one side.

    Args:
        summed_first: True, pairs of targets: s_g = Σ c_e h_u is multiplied and goes to the pair's
            node. False, pairs of sources: the node's h_g is multiplied and sent along Σ c_e.
        node: int64 [G].
        ends: pattern [N, G], nodes by their pairs.
        links: pattern of the messages: [G, N], pairs by sources, or [N, G], targets by pairs.
        message: int64, the messages of these pairs, in the order of `links`' entries.
        spans: the pairs of each relation that occurs.
    """

    summed_first: bool
    node: Tensor
    ends: SparsePattern
    links: SparsePattern
    message: Tensor
    spans: Spans


def pair_chunks(topology: Topology, width: int) -> list[PairChunk]:
    """The pairs of a graph in chunks of at most PAIR_ELEMENTS numbers of `width`-wide vectors."""
    size = max(1, PAIR_ELEMENTS // max(width, 1))
    known = _CHUNKS.setdefault(topology, {})
    if size not in known:
        known[size] = list(_pair_chunks(topology, size))
    return known[size]


def _pair_chunks(topology: Topology, size: int) -> Iterator[PairChunk]:
    nodes, relations = topology.num_nodes, 2 * topology.num_relations
    sides = []
    for end in (topology.source, topology.target):
        key, pair = torch.unique(topology.relation * nodes + end, return_inverse=True)
        count = torch.bincount(key // max(nodes, 1), minlength=relations)
        sides.append((count, key, pair))
    by_target = sides[1][0] <= sides[0][0]
    for summed_first, (_, key, pair) in zip((False, True), sides, strict=True):
        kept = (by_target == summed_first)[key // max(nodes, 1)].nonzero().squeeze(1)
        place = torch.full_like(key, -1)
        place[kept] = torch.arange(len(kept), device=key.device)
        own = place[pair]
        # messages by pair, once: then those of a chunk are neighbours
        order = torch.argsort(own, stable=True)[int((own < 0).sum()) :]
        own = own[order]
        for start, pairs in zip(range(0, len(kept), size), kept.split(size), strict=False):
            bounds = own.new_tensor([start, start + len(pairs)])
            first, last = torch.searchsorted(own, bounds).tolist()
            part = slice(first, last)
            yield _chunk(topology, summed_first, key[pairs], order[part], own[part] - start)


def _chunk(
    topology: Topology, summed_first: bool, key: Tensor, message: Tensor, place: Tensor
) -> PairChunk:
    """The chunk of the pairs `key` [G], with their messages by pair, and each one's pair."""
    nodes, count = topology.num_nodes, len(key)
    relation, node = key // nodes, key % nodes
    if summed_first:
        links = SparsePattern.build(place, topology.source[message], (count, nodes))
    else:
        message, order = message.sort()  # ends of messages are in order
        links = SparsePattern.build(topology.target[message], place[order], (nodes, count))
    ends = SparsePattern.build(node, torch.arange(count, device=key.device), (nodes, count))
    numbers, counts = torch.unique_consecutive(relation, return_counts=True)
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return PairChunk(summed_first, node, ends, links, message, Spans(start, numbers))


def block_sum(topology: Topology, coefficient: Tensor, x: Tensor, blocks: Tensor) -> Tensor:
    """out_v = Σ_{e=(u,r)→v} c_e · h_u Q_r with block-diagonal Q_r.

    Args:
        topology: M messages between N nodes, 2R relations.
        coefficient: c, [M].
        x: h, [N, B · k].
        blocks: Q, [2R, B, k, l].

    Returns:
        [N, B · l], in float32 at least.
    """
    x = widen(x)
    with torch.autocast(x.device.type, enabled=False):
        out: Tensor = _BlockSum.apply(topology, coefficient.to(x.dtype), x, blocks.to(x.dtype))
    return out


class _BlockSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, topology: Topology, coefficient: Tensor, x: Tensor, blocks: Tensor
    ) -> Tensor:
        ctx.topology = topology
        ctx.save_for_backward(coefficient, x, blocks)
        width = blocks.shape[1] * blocks.shape[3]
        out = x.new_zeros(topology.num_nodes, width)
        for chunk in pair_chunks(topology, max(x.shape[1], width)):
            weights = coefficient[chunk.message][None]
            moved = kernels.block_product(_factors(chunk, weights, x), chunk.spans, blocks)
            if chunk.summed_first:
                _to_ends(chunk, moved, out)
            else:
                kernels.edge_sum(chunk.links, weights, moved, out[:, None])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor, Tensor]:
        coefficient, x, blocks = ctx.saved_tensors
        asked = ctx.needs_input_grad[1]
        to_coefficient, to_x = torch.zeros_like(coefficient), torch.zeros_like(x)
        to_blocks = torch.zeros_like(blocks)
        turned = blocks.transpose(2, 3).contiguous()
        grad = grad.contiguous()
        for chunk in pair_chunks(ctx.topology, max(x.shape[1], grad.shape[1])):
            weights = coefficient[chunk.message][None]
            # Made again rather than kept: it is a tenth of the time and most of the memory.
            factors = _factors(chunk, weights, x)
            if chunk.summed_first:
                arrived = grad.index_select(0, chunk.node)
                back = kernels.block_product(arrived, chunk.spans, turned)
                own = _gradients(chunk.links, weights, x, back, to_x, asked)
            else:
                arrived = x.new_zeros(len(factors), grad.shape[1])
                moved = kernels.block_product(factors, chunk.spans, blocks) if asked else arrived
                own = _gradients(chunk.links, weights, moved, grad, arrived, asked)
                _to_ends(chunk, kernels.block_product(arrived, chunk.spans, turned), to_x)
            kernels.block_gradient(factors, chunk.spans, arrived, to_blocks)
            if own is not None:
                to_coefficient[chunk.message] = own
        return None, to_coefficient if asked else None, to_x, to_blocks


def _factors(chunk: PairChunk, weights: Tensor, x: Tensor) -> Tensor:
    """What is multiplied by the blocks of each pair's relation, [G, B · k]."""
    if chunk.summed_first:
        return kernels.edge_sum(chunk.links, weights, x)[:, 0]
    return x.index_select(0, chunk.node)


def _to_ends(chunk: PairChunk, rows: Tensor, out: Tensor) -> None:
    """Add each pair's row to its node's, in place."""
    kernels.edge_sum(chunk.ends, rows.new_ones(1, len(rows)), rows, out[:, None])


def _gradients(
    links: SparsePattern,
    weights: Tensor,
    features: Tensor,
    grad: Tensor,
    to_features: Tensor,
    asked: bool,
) -> Tensor | None:
    """Add an edge sum's gradient to `to_features`; returns that to the weights if it is asked."""
    if asked:
        own, _ = kernels.edge_sum_gradients(links, weights, features, grad[:, None], to_features)
        return own[0]
    kernels.edge_sum(links.transpose, weights, grad, to_features[:, None])
    return None


class BlockRGCNLayer(nn.Module):
    """Relational graph convolution with block-diagonal weights and a gate that text sets.

    h'_v = act( W_0 h_v + Σ_{e=(u,r)→v} g_e w_e / c(v,r) · h_u Q_r + bias ),  Q_r = diag(Q_r1 …
    Q_rB),  g_e = 1 + ⟨p^dir, T(text of r)⟩ + ⟨q^dir, t_e⟩

    Schlichtkrull et al., Modeling Relational Data with Graph Convolutional Networks, ESWC 2018,
    equation 4, is the case g = 1. A relation never seen has no blocks: take bases for that.

    Args:
        in_dim, out_dim: widths of h and h'; multiples of num_blocks.
        num_relations: 2R, inverses included.
        num_blocks: B.
        text_dim, evidence_dim, dropout, activation: see `RGCNLayer`.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_relations: int,
        num_blocks: int,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if in_dim % num_blocks or out_dim % num_blocks:
            raise InputError(
                f"widths {in_dim} and {out_dim} for R-GCN with {num_blocks} blocks: expected "
                "multiples of the number of blocks; change decoder.dim or gnn.bases"
            )
        shape = (num_relations, num_blocks, in_dim // num_blocks, out_dim // num_blocks)
        self.blocks = nn.Parameter(torch.empty(shape))
        self.self_loop = nn.Linear(in_dim, out_dim)
        self.text = TextCoefficient(1, text_dim, evidence_dim, scale=0.0)
        self.dropout = Dropout(dropout)
        self.activation = activation
        # Glorot's bound for the whole [in_dim, out_dim] matrix, whose other entries are zero.
        bound = (6 * num_blocks / (in_dim + out_dim)) ** 0.5
        nn.init.uniform_(self.blocks, -bound, bound)

    def forward(
        self, x: Tensor, graph: MessageGraph, relation_text: Tensor | None = None
    ) -> Tensor:
        """One round of messages: x [N, in_dim] to [N, out_dim]."""
        check_relations(graph, self.blocks.shape[0])
        coefficient = self.text.gate(graph, relation_text) * (graph.weight * graph.norm)
        out = self.self_loop(x) + block_sum(graph.topology, coefficient, x, self.blocks)
        out = self.dropout(out)
        return out if self.activation is None else self.activation(out)
