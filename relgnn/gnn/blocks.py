"""R-GCN with block-diagonal weights: messages are summed before they are multiplied.

The weights of a relation act on a whole vector, so messages cannot be summed first over relations
as with bases. They are summed first within each (target, relation) pair: one vector s_g for each
pair g, fewer than messages, and the pairs of one relation are multiplied by its blocks at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

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
    """Some (target, relation) pairs, ordered by relation.

    Args:
        gather: pattern [G, N], pairs by the sources of their messages.
        scatter: pattern [N, G], targets by their pairs.
        message: int64, the messages of these pairs, in the order of `gather`'s entries.
        target: int64 [G].
        spans: the pairs of each relation that occurs.
    """

    gather: SparsePattern
    scatter: SparsePattern
    message: Tensor
    target: Tensor
    spans: Spans


def pair_chunks(topology: Topology, width: int) -> list[PairChunk]:
    """The pairs of a graph in chunks of at most PAIR_ELEMENTS numbers of `width`-wide vectors."""
    size = max(1, PAIR_ELEMENTS // max(width, 1))
    known = _CHUNKS.setdefault(topology, {})
    if size not in known:
        known[size] = list(_pair_chunks(topology, size))
    return known[size]


def _pair_chunks(topology: Topology, size: int) -> Iterator[PairChunk]:
    first = torch.ones_like(topology.group, dtype=torch.bool)
    first[1:] = topology.group[1:] != topology.group[:-1]
    relation, target = topology.relation[first], topology.target[first]
    order = torch.argsort(relation, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    row = rank[topology.group]
    for start in range(0, topology.num_groups, size):
        pairs = order[start : start + size]
        message = ((row >= start) & (row < start + len(pairs))).nonzero().squeeze(1)
        here, found = target[pairs], relation[pairs]
        numbers, counts = torch.unique_consecutive(found, return_counts=True)
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        gather = SparsePattern.build(
            row[message] - start, topology.source[message], (len(pairs), topology.num_nodes)
        )
        pair = torch.arange(len(pairs), device=here.device)
        scatter = SparsePattern.build(here, pair, (topology.num_nodes, len(pairs)))
        yield PairChunk(gather, scatter, message, here, Spans(ends, numbers))


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
            sums = _gather(chunk, coefficient, x)
            moved = kernels.block_product(sums, chunk.spans, blocks)
            ones = coefficient.new_ones(1, len(sums))
            kernels.edge_sum(chunk.scatter, ones, moved, out=out[:, None])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        coefficient, x, blocks = ctx.saved_tensors
        to_coefficient, to_x = torch.zeros_like(coefficient), torch.zeros_like(x)
        to_blocks, turned = torch.zeros_like(blocks), blocks.transpose(2, 3).contiguous()
        width = blocks.shape[1] * blocks.shape[3]
        for chunk in pair_chunks(ctx.topology, max(x.shape[1], width)):
            # Summed again rather than kept: it is a tenth of the time and most of the memory.
            sums = _gather(chunk, coefficient, x)
            arrived = grad.index_select(0, chunk.target)
            kernels.block_gradient(sums, chunk.spans, arrived, to_blocks)
            sums = kernels.block_product(arrived, chunk.spans, turned)
            values = coefficient[chunk.message][None]
            own, _ = kernels.edge_sum_gradients(chunk.gather, values, x, sums[:, None], to_x)
            to_coefficient[chunk.message] = own[0]
        return None, to_coefficient, to_x, to_blocks


def _gather(chunk: PairChunk, coefficient: Tensor, x: Tensor) -> Tensor:
    return kernels.edge_sum(chunk.gather, coefficient[chunk.message][None], x)[:, 0]


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
        self.dropout = nn.Dropout(dropout)
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
