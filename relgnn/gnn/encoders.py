"""Graph encoders: a stack of layers that never starts worse than no layer at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from relgnn.errors import InputError
from relgnn.gnn.attention import AttentionLayer
from relgnn.gnn.blocks import BlockRGCNLayer
from relgnn.gnn.graph import MessageGraph
from relgnn.gnn.layers import CompGCNLayer, RGCNLayer

INITIAL_GATE = 0.1


class GraphEncoder(nn.Module, ABC):
    """Vectors of nodes and relations that have seen their neighbourhood.

    x ← x + γ_l · layer_l(x), with a learned scalar γ_l that starts small, so that training starts
    from the features themselves and the graph must earn its say. CompGCN's relation vectors z are
    updated in the same way.

    Args:
        dim: d, the same in every layer.
        num_relations: 2R, inverses included.
        num_layers: L; 0 gives the features back.
        text_dim: width of the relations' encodings; 0 leaves them out.
        evidence_dim: width of the edges' evidence; 0 leaves it out.
        dropout: share of each layer's output that is dropped.
    """

    def __init__(self, dim: int, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.dim, self.num_layers = dim, len(layers)
        self.gates = nn.Parameter(torch.full((len(layers),), INITIAL_GATE))
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Tensor, z: Tensor, graph: MessageGraph, relation_text: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pass messages.

        Args:
            x: node features [N, d].
            z: relation features [2R, d], inverses included.
            graph: the message graph on the same nodes and relations.
            relation_text: [R, text_dim], where the encoder was built with a text_dim.

        Returns:
            x' [N, d] and z' [2R, d].
        """
        for layer, gate in zip(self.layers, self.gates, strict=True):
            nodes, relations = self._run(layer, x, z, graph, relation_text)
            x = x + gate * nodes
            if relations is not None:
                z = z + gate * relations
        return x, z

    @abstractmethod
    def _run(
        self, layer: nn.Module, x: Tensor, z: Tensor, graph: MessageGraph, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What a layer gives to nodes [N, d] and to relations [2R, d]; None leaves these be."""


class RGCNEncoder(GraphEncoder):
    """Stack of `RGCNLayer`, or of `BlockRGCNLayer`; relation features pass unchanged.

    Args:
        num_bases: B, bases or blocks.
        alpha: False leaves the relations' own coefficients out, for relations never seen; needs
            text_dim and bases.
        decomposition: of the relations' weights, "basis" or "block".
    """

    def __init__(
        self,
        dim: int,
        num_relations: int,
        num_layers: int = 1,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        num_bases: int = 4,
        alpha: bool = True,
        decomposition: str = "basis",
    ) -> None:
        if decomposition not in ("basis", "block") or (decomposition == "block" and not alpha):
            raise InputError(
                f"R-GCN with decomposition '{decomposition}' and alpha {alpha}: expected 'basis' "
                "or 'block', and 'basis' where alpha is false; blocks are each relation's own"
            )
        common = (text_dim, evidence_dim, dropout, torch.tanh)
        layers = [
            BlockRGCNLayer(dim, dim, num_relations, num_bases, *common)
            if decomposition == "block"
            else RGCNLayer(dim, dim, num_relations, num_bases, *common, alpha)
            for _ in range(num_layers)
        ]
        super().__init__(dim, layers)

    def _run(
        self, layer: nn.Module, x: Tensor, z: Tensor, graph: MessageGraph, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        return layer(x, graph, text), None


class CompGCNEncoder(GraphEncoder):
    """Stack of `CompGCNLayer`; relation features are updated with the nodes.

    Args:
        composition: "sub", "mult" or "corr".
    """

    def __init__(
        self,
        dim: int,
        num_relations: int,
        num_layers: int = 1,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        composition: str = "mult",
    ) -> None:
        layers = [
            CompGCNLayer(dim, dim, composition, text_dim, evidence_dim, dropout, torch.tanh)
            for _ in range(num_layers)
        ]
        super().__init__(dim, layers)

    def _run(
        self, layer: nn.Module, x: Tensor, z: Tensor, graph: MessageGraph, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        nodes, relations = layer(x, z, graph, text)
        return nodes, relations


class AttentionEncoder(GraphEncoder):
    """Stack of `AttentionLayer`; relation features pass unchanged.

    Args:
        num_heads: K.
    """

    def __init__(
        self,
        dim: int,
        num_relations: int,
        num_layers: int = 1,
        text_dim: int = 0,
        evidence_dim: int = 0,
        dropout: float = 0.0,
        num_heads: int = 4,
    ) -> None:
        layers = [
            AttentionLayer(dim, dim, num_heads, text_dim, evidence_dim, dropout, torch.tanh)
            for _ in range(num_layers)
        ]
        super().__init__(dim, layers)

    def _run(
        self, layer: nn.Module, x: Tensor, z: Tensor, graph: MessageGraph, text: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        return layer(x, z, graph, text), None


GRAPH_ENCODERS: dict[str, type[GraphEncoder]] = {
    "rgcn": RGCNEncoder,
    "compgcn": CompGCNEncoder,
    "attention": AttentionEncoder,
}


def make_encoder(kind: str, dim: int, num_relations: int, **options: Any) -> GraphEncoder:
    """Build a graph encoder by name.

    Args:
        kind: a key of GRAPH_ENCODERS.
        dim: d.
        num_relations: 2R, inverses included.
        options: the encoder's own arguments.

    Raises:
        InputError: no encoder has that name.
    """
    if kind not in GRAPH_ENCODERS:
        raise InputError(f"graph encoder '{kind}': expected one of {', '.join(GRAPH_ENCODERS)}")
    constructor: Any = GRAPH_ENCODERS[kind]
    encoder: GraphEncoder = constructor(dim, num_relations, **options)
    return encoder
