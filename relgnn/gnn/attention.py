"""Relation-aware attention: how much a neighbour says depends on both nodes, relation and text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.dropout import Dropout
from relgnn.errors import InputError
from relgnn.gnn.backends import weighted_spmm
from relgnn.gnn.edges import TextCoefficient, check_relations
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import Activation
from relgnn.gnn.sparse import edge_softmax


class AttentionLayer(nn.Module):
    """Graph attention over the messages of all relations, with text in the attention scores.

    h'_v = act( W_0 h_v + ∥_k Σ_{e=(u,r)→v} α_ke (W_k h_u − U_k z_r) + bias )
    α_ke = softmax over the messages into v of LeakyReLU( ⟨a_k, W_k h_u⟩ + ⟨b_k, W_k h_v⟩ + ⟨c_k,
    U_k z_r⟩ + ⟨p_k^dir, T(text of r)⟩ + ⟨q_k^dir, t_e⟩ ) + log w_e

    Busbridge et al., Relational Graph Attention Networks, 2019 (the softmax across relations), with
    CompGCN's subtraction as the message, which keeps the relation in it at the cost of one scalar
    an edge and head.

    Args:
        in_dim, out_dim: widths of h (and z) and of h'.
        num_heads: K; out_dim is a multiple.
        text_dim: width of T; 0 leaves the text of relations out.
        evidence_dim: width of t_e; 0 leaves the evidence of edges out.
        dropout: share of h' that is dropped before the activation.
        activation: act; identity where None.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_heads: int = 4,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if out_dim % num_heads:
            raise InputError(
                f"width {out_dim} for attention with {num_heads} heads: expected a multiple of the "
                "number of heads; change decoder.dim or gnn.heads"
            )
        self.num_heads = num_heads
        self.by_node = nn.Linear(in_dim, out_dim, bias=False)
        self.by_relation = nn.Linear(in_dim, out_dim, bias=False)
        self.self_loop = nn.Linear(in_dim, out_dim)
        self.attention = nn.Parameter(torch.empty(3, num_heads, out_dim // num_heads))
        self.text = TextCoefficient(num_heads, text_dim, evidence_dim, scale=0.0)
        self.dropout = Dropout(dropout)
        self.activation = activation
        nn.init.xavier_uniform_(self.attention)

    def weights(
        self,
        graph: MessageGraph,
        nodes: Tensor,
        relations: Tensor,
        relation_text: Tensor | None = None,
    ) -> Tensor:
        """α of every message, [K, 2E]; those into one node add up to 1, or to 0 if all are removed.

        Args:
            graph: with 2R relations, inverses included.
            nodes: W h, [K, N, d].
            relations: U z, [K, 2R, d].
            relation_text: T, [R, text_dim].
        """
        vectors = self.attention[:, :, None]
        source, target = (nodes * vectors[0]).sum(-1), (nodes * vectors[1]).sum(-1)
        relation = (relations * vectors[2]).sum(-1)
        by_relation = self.text.by_relation(relation_text)
        if by_relation is not None:
            relation = relation + by_relation
        score = (
            source.index_select(1, graph.source)
            + target.index_select(1, graph.target)
            + relation.index_select(1, graph.relation)
        )
        by_edge = self.text.by_edge(graph)
        if by_edge is not None:
            score = score + by_edge
        score = functional.leaky_relu(score, 0.2) + graph.weight.log()
        return edge_softmax(graph.topology.by_node, score)

    def forward(
        self, x: Tensor, z: Tensor, graph: MessageGraph, relation_text: Tensor | None = None
    ) -> Tensor:
        """One round of messages: x [N, in_dim] and z [2R, in_dim] to [N, out_dim]."""
        check_relations(graph, z.shape[0])
        nodes, relations = self._heads(self.by_node(x)), self._heads(self.by_relation(z))
        weights = self.weights(graph, nodes, relations, relation_text)
        gathered = []
        for weight, node, relation in zip(weights, nodes, relations, strict=True):
            sent = weighted_spmm(graph.topology.by_node, weight, node)
            named = weighted_spmm(graph.topology.by_relation, weight, relation)
            gathered.append(sent - named.view(2, graph.num_nodes, -1).sum(0))
        out = self.dropout(self.self_loop(x) + torch.cat(gathered, 1))
        return out if self.activation is None else self.activation(out)

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.view(len(rows), self.num_heads, -1).transpose(0, 1)
