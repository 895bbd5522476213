"""R-GCN and CompGCN layers whose edge weights come from text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from relgnn.dropout import Dropout
from relgnn.errors import InputError
from relgnn.gnn.backends import weighted_product_spmm, weighted_spmm
from relgnn.gnn.edges import TextCoefficient, check_relations
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.precision import product_dtype, widen
from relgnn.gnn.sparse import SparsePattern

Activation = Callable[[Tensor], Tensor]

ROW_ELEMENTS = 1 << 22
"""Numbers of summed messages held at once where no gradient is asked for: 16 MB in float32."""


class RGCNLayer(nn.Module):
    """Relational graph convolution with basis decomposition, its coefficients given by text.

    h'_v = act( W_0 h_v + Σ_b Σ_{e=(u,r)→v} a_b(e) w_e / c(v,r) · h_u V_b + bias )
    a_b(e) = α_rb + ⟨p_b^dir, T(text of r)⟩ + ⟨q_b^dir, t_e⟩

    Schlichtkrull et al., Modeling Relational Data with Graph Convolutional Networks, ESWC 2018, is
    the case a = α.

    Args:
        in_dim, out_dim: widths of h and h'.
        num_relations: 2R, inverses included.
        num_bases: B.
        text_dim: width of T; 0 leaves the text of relations out.
        evidence_dim: width of t_e; 0 leaves the evidence of edges out.
        dropout: share of h' that is dropped before the activation.
        activation: act; identity where None.
        alpha: False leaves α out, so that the layer works for relations it never saw; needs
            text_dim.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        num_relations: int,
        num_bases: int,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        activation: Activation | None = None,
        alpha: bool = True,
    ) -> None:
        super().__init__()
        if not alpha and not text_dim:
            raise InputError(
                "R-GCN with alpha false and text_dim 0: an edge would have no coefficient; "
                "give relation text or set alpha true"
            )
        self.num_relations = num_relations
        self.alpha = nn.Parameter(torch.empty(num_bases, num_relations)) if alpha else None
        self.bases = nn.Parameter(torch.empty(num_bases, in_dim, out_dim))
        self.self_loop = nn.Linear(in_dim, out_dim)
        self.text = TextCoefficient(num_bases, text_dim, evidence_dim, scale=0.0 if alpha else 1.0)
        self.dropout = Dropout(dropout)
        self.activation = activation
        for basis in self.bases.data:
            nn.init.xavier_uniform_(basis)
        if self.alpha is not None:
            nn.init.xavier_uniform_(self.alpha)

    def coefficients(self, graph: MessageGraph, relation_text: Tensor | None = None) -> Tensor:
        """a_b(e) w_e / c(v,r) for every message, [B, 2E].

        Args:
            graph: with 2R relations, inverses included.
            relation_text: T, [R, text_dim].
        """
        parts = [p for p in (self.alpha, self.text.by_relation(relation_text)) if p is not None]
        by_relation = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        check_relations(graph, by_relation.shape[1])
        coefficient = by_relation.index_select(1, graph.relation)
        by_edge = self.text.by_edge(graph)
        if by_edge is not None:
            coefficient = coefficient + by_edge
        return coefficient * (graph.weight * graph.norm)

    def forward(
        self, x: Tensor, graph: MessageGraph, relation_text: Tensor | None = None
    ) -> Tensor:
        """One round of messages: x [N, in_dim] to [N, out_dim]."""
        coefficient, pattern = self.coefficients(graph, relation_text), graph.topology.by_node
        if torch.is_grad_enabled():
            return self._of_rows(x, x, pattern, coefficient)
        # Without gradients the sums of a few rows are all that has to be held.
        size = max(1, ROW_ELEMENTS // max(self.bases.shape[0] * x.shape[1], 1))
        out = x.new_empty(len(x), self.bases.shape[2])
        for start in range(0, len(x), size):
            own = x[start : start + size]
            part, entries = pattern.rows(start, start + len(own))
            out[start : start + size] = self._of_rows(own, x, part, coefficient[:, entries])
        return out

    def _of_rows(
        self, own: Tensor, x: Tensor, pattern: SparsePattern, coefficient: Tensor
    ) -> Tensor:
        """h' of the nodes that are the rows of `pattern`, with features `own`."""
        # Where most nodes have no edge, sums are made for those that have some.
        pattern, rows = pattern.filled or (pattern, None)
        sums = weighted_spmm(pattern, coefficient, x, product_dtype(self.bases))
        # Σ_b (A_b H) V_b as one matrix product: a node's sums of all bases lie together.
        messages = sums.transpose(0, 1).flatten(1) @ self.bases.flatten(0, 1)
        out = self.self_loop(own)
        out = out + messages if rows is None else out.index_add(0, rows, messages)
        out = self.dropout(out)
        return out if self.activation is None else self.activation(out)


class CompGCNLayer(nn.Module):
    """Composition-based graph convolution, with a gate on every edge that text sets.

    h'_v = act( 1/3 ( Σ_{e=(u,r)→v} g_e n_e · φ(h_u, z_r) W_dir(e) + φ(h_v, z_loop) W_loop ) + bias
    ),  z'_r = z_r W_rel g_e = w_e (1 + ⟨p^dir, T(text of r)⟩ + ⟨q^dir, t_e⟩),  n_e = 1 / sqrt(deg u
    · deg v) within the direction φ(h, z) = h − z (sub), h ∘ z (mult), or h ⋆ z (corr, circular
    correlation: Σ_i h_i z_{k+i})

    Vashishth et al., Composition-based Multi-Relational Graph Convolutional Networks, ICLR 2020, is
    the case g = 1.

    Args:
        in_dim, out_dim: widths of h (and z) and of h' (and z').
        composition: "sub", "mult" or "corr".
        text_dim: width of T; 0 leaves the text of relations out.
        evidence_dim: width of t_e; 0 leaves the evidence of edges out.
        dropout: share of h' that is dropped before the activation.
        activation: act; identity where None.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        composition: str = "sub",
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        if composition not in COMPOSITIONS:
            raise InputError(
                f"composition '{composition}' of CompGCN: expected one of {', '.join(COMPOSITIONS)}"
            )
        self.composition = composition
        self.by_direction = nn.Parameter(torch.empty(2, in_dim, out_dim))
        self.by_loop = nn.Parameter(torch.empty(in_dim, out_dim))
        self.by_relation = nn.Parameter(torch.empty(in_dim, out_dim))
        self.loop_relation = nn.Parameter(torch.empty(1, in_dim))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.text = TextCoefficient(1, text_dim, evidence_dim, scale=0.0)
        self.dropout = Dropout(dropout)
        self.activation = activation
        for weight in (*self.by_direction.data, self.by_loop, self.by_relation, self.loop_relation):
            nn.init.xavier_uniform_(weight)

    def coefficients(self, graph: MessageGraph, relation_text: Tensor | None = None) -> Tensor:
        """g_e n_e for every message, [2E].

        Args:
            graph: with 2R relations, inverses included.
            relation_text: T, [R, text_dim].
        """
        return self.text.gate(graph, relation_text) * (graph.weight * graph.symmetric_norm)

    def forward(
        self, x: Tensor, z: Tensor, graph: MessageGraph, relation_text: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One round of messages: x [N, in_dim], z [2R, in_dim] to [N, out_dim], [2R, out_dim]."""
        check_relations(graph, z.shape[0])
        compose_sum, compose = COMPOSITIONS[self.composition]
        gathered = compose_sum(graph, self.coefficients(graph, relation_text), x, z)
        messages = torch.bmm(gathered.view(2, graph.num_nodes, -1), self.by_direction).sum(0)
        loop = compose(x, self.loop_relation) @ self.by_loop
        out = self.dropout((messages + loop) / 3) + self.bias
        return out if self.activation is None else self.activation(out), z @ self.by_relation


def _sub(h: Tensor, z: Tensor) -> Tensor:
    return h - z


def _mult(h: Tensor, z: Tensor) -> Tensor:
    return h * z


def _corr(h: Tensor, z: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(widen(h)).conj() * torch.fft.rfft(widen(z))
    return torch.fft.irfft(spectrum, n=h.shape[-1])


def _sub_sum(graph: MessageGraph, coefficient: Tensor, x: Tensor, z: Tensor) -> Tensor:
    topology = graph.topology
    return weighted_spmm(topology.by_direction, coefficient, x) - weighted_spmm(
        topology.by_relation, coefficient, z
    )


def _mult_sum(graph: MessageGraph, coefficient: Tensor, x: Tensor, z: Tensor) -> Tensor:
    return weighted_product_spmm(
        graph.topology.by_direction, graph.relation, coefficient, widen(x), widen(z)
    )


def _corr_sum(graph: MessageGraph, coefficient: Tensor, x: Tensor, z: Tensor) -> Tensor:
    left, right = torch.fft.rfft(widen(x)).conj(), torch.fft.rfft(widen(z))
    summed = weighted_product_spmm(
        graph.topology.by_direction, graph.relation, coefficient, left.resolve_conj(), right
    )
    return torch.fft.irfft(summed, n=x.shape[-1])


COMPOSITIONS: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "sub": (_sub_sum, _sub),
    "mult": (_mult_sum, _mult),
    "corr": (_corr_sum, _corr),
}
