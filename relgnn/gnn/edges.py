"""Text makes the edge weights: the scalar coefficient of every message, per basis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.errors import InputError
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.precision import product_dtype


class TextCoefficient(nn.Module):
    """Coefficients that the text of a relation and the text of an edge give to its messages.

    a_b(e) = ⟨p_b^dir, T(text of r)⟩ + ⟨q_b^dir, t_e⟩, with dir forward or inverse, each with its
    own p and q.

    Args:
        num_bases: B.
        text_dim: width of T, the encoding of a relation's label and description; 0 means that it is
            not used.
        evidence_dim: width of t_e, the encoding of an edge's own evidence; 0 means that it is not
            used.
        scale: standard deviation of p at the start; q starts at 0, so that evidence changes nothing
            before training.
    """

    def __init__(self, num_bases: int, text_dim: int, evidence_dim: int, scale: float) -> None:
        super().__init__()
        self.text_dim, self.evidence_dim = text_dim, evidence_dim
        self.p = nn.Parameter(torch.randn(2, num_bases, text_dim) * scale) if text_dim else None
        self.q = nn.Parameter(torch.zeros(2, num_bases, evidence_dim)) if evidence_dim else None

    def by_relation(self, relation_text: Tensor | None) -> Tensor | None:
        """The relation's part, [B, 2R], from T [R, text_dim]; None where it is not used."""
        if self.p is None:
            return None
        if relation_text is None or relation_text.shape[-1] != self.text_dim:
            given = "none" if relation_text is None else f"shape {tuple(relation_text.shape)}"
            raise InputError(
                f"relation text ({given}) for a layer with text_dim {self.text_dim}: "
                f"expected [relations, {self.text_dim}]; pass the encodings of the relations"
            )
        return functional.linear(self.p, relation_text.to(self.p.dtype)).transpose(0, 1).flatten(1)

    def by_edge(self, graph: MessageGraph) -> Tensor | None:
        """The evidence's part, [B, 2E], 0 where an edge has none; None where no edge has any."""
        if self.q is None or graph.evidence is None or graph.evidence_index is None:
            return None
        if graph.evidence.shape[0] == 0:
            return None
        if graph.evidence.shape[1] != self.evidence_dim:
            raise InputError(
                f"edge evidence of width {graph.evidence.shape[1]} for a layer with evidence_dim "
                f"{self.evidence_dim}; encode it with the encoder that the model was built for"
            )
        evidence = graph.evidence.to(product_dtype(self.q))
        score = functional.linear(self.q, evidence).transpose(0, 1)
        padded = functional.pad(score, (0, 1)).flatten(1)
        slot = (
            graph.direction * score.shape[-1]
            + graph.direction
            + graph.evidence_index[graph.edge_id]
        )
        return padded.index_select(1, slot)

    def gate(self, graph: MessageGraph, relation_text: Tensor | None) -> Tensor | float:
        """1 + a(e) of every message, [2E], for one basis; 1 where neither text is used."""
        gate: Tensor | float = 1.0
        by_relation = self.by_relation(relation_text)
        if by_relation is not None:
            check_relations(graph, by_relation.shape[1])
            gate = gate + by_relation[0].index_select(0, graph.relation)
        by_edge = self.by_edge(graph)
        return gate if by_edge is None else gate + by_edge[0]


def check_relations(graph: MessageGraph, given: int) -> None:
    """Raise InputError unless `given` vectors are one for each relation and each inverse."""
    if given != 2 * graph.num_relations:
        raise InputError(
            f"{given} relation vectors for a graph of {graph.num_relations} relations: expected "
            f"{2 * graph.num_relations}, one for each relation and each inverse"
        )
