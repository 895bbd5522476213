"""Relation vectors that depend on the query: learned one by one, or read from text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.errors import InputError


class RelationVectors(nn.Module):
    """Relation vectors under a query: m_l(r', q) = v_l,r' ∘ (1 + C_l q + c_l).

    So a query weighs the coordinates of what any relation says, by a map that all relations share.
    A map of its own for each relation, as in Zhu et al., Neural Bellman-Ford Networks, NeurIPS
    2021, has d times as many parameters, and learns a small graph of many relations by heart.

    Args:
        dim: d.
        num_maps: L, how many maps m_l there are.
    """

    def __init__(self, dim: int, num_maps: int) -> None:
        super().__init__()
        self.condition = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_maps))

    def factors(self, q: Tensor) -> Tensor:
        """1 + C_l q + c_l of all maps, [L, B, d], for q [B, d]."""
        return torch.stack([1 + condition(q) for condition in self.condition])


class RelationTable(RelationVectors):
    """Relation vectors that are learned one by one: q_r and v_l,r are embeddings.

    Args:
        dim: d.
        num_relations: 2R, inverses included.
        num_maps: how many maps m_l there are.
    """

    def __init__(self, dim: int, num_relations: int, num_maps: int) -> None:
        super().__init__(dim, num_maps)
        self.query = nn.Parameter(torch.randn(num_relations, dim))
        self.message = nn.Parameter(torch.randn(num_maps, num_relations, dim))

    def check(self, num_relations: int, text: Tensor | None) -> None:
        """Refuse a graph whose R is not this table's, and text."""
        expected = len(self.query) // 2
        if num_relations != expected or text is not None:
            given = f"{num_relations} relations {'without' if text is None else 'with'} text"
            raise InputError(
                f"a graph of {given} for an encoder of {expected} relations without text; build "
                "the encoder for the graph's relations, or with relation_text_dim"
            )

    def queries(self, relations: Tensor, text: Tensor | None) -> Tensor:
        """q_r, [B, d], of relations [B] in [0, 2R)."""
        return self.query[relations]

    def vectors(self, text: Tensor | None) -> Tensor:
        """v_l,r of all maps, [L, 2R, d]."""
        return self.message


class RelationText(RelationVectors):
    """Relation vectors that are read from text, so that relations never seen have them too.

    q_r = P^dir T_r and v_l,r = A_l^dir T_r, with T_r the encoding of r's text, scaled to mean
    square 1, and dir forward or inverse.

    Args:
        dim: d.
        text_dim: width of T.
        num_maps: how many maps m_l there are.
    """

    def __init__(self, dim: int, text_dim: int, num_maps: int) -> None:
        super().__init__(dim, num_maps)
        self.text_dim = text_dim
        scale = text_dim**-0.5
        self.query = nn.Parameter(torch.randn(2, text_dim, dim) * scale)
        self.message = nn.Parameter(torch.randn(num_maps, 2, text_dim, dim) * scale)

    def check(self, num_relations: int, text: Tensor | None) -> None:
        """Refuse text that is missing, or not one row of text_dim for each relation."""
        expected = (num_relations, self.text_dim)
        if text is None or text.shape != expected:
            given = "none" if text is None else f"shape {tuple(text.shape)}"
            raise InputError(
                f"relation text ({given}) for {num_relations} relations: expected "
                f"{list(expected)}; encode the graph's relations with the encoder it was built for"
            )

    def queries(self, relations: Tensor, text: Tensor | None) -> Tensor:
        """q_r, [B, d], of relations [B] in [0, 2R), from text [R, text_dim]."""
        return self._both_ways(text, self.query)[relations]

    def vectors(self, text: Tensor | None) -> Tensor:
        """v_l,r of all maps, [L, 2R, d], from text [R, text_dim]."""
        return self._both_ways(text, self.message)

    def _both_ways(self, text: Tensor | None, weight: Tensor) -> Tensor:
        assert text is not None
        return torch.matmul(unit_mean_square(text.to(weight.dtype)), weight).flatten(-3, -2)


def unit_mean_square(text: Tensor) -> Tensor:
    """Rows scaled to mean square 1, so that one learning rate fits every encoder; zeros stay."""
    return functional.rms_norm(text, text.shape[-1:], eps=1e-12)
