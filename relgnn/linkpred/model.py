"""The link predictor: text features and embeddings, a graph encoder, a decoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from relgnn.config import Config
from relgnn.dropout import Dropout
from relgnn.gnn.decoders import Beside, ComplEx, Decoder, make_decoder
from relgnn.gnn.encoders import GraphEncoder, make_encoder
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.features import TextFeatures

INITIAL_SCALE = 0.1
MEMORY_SCALE = 0.05
"""Standard deviation of a memory's first vectors: so small that it begins by saying nothing."""


class Memory(nn.Module):
    """What a predictor was told and need not explain: vectors that no text and no message makes.

    Args:
        num_entities: N.
        num_relations: R, inverses not counted.
        dim: width of either vector, even: ComplEx scores them.
    """

    def __init__(self, num_entities: int, num_relations: int, dim: int) -> None:
        super().__init__()
        self.entity = nn.Parameter(torch.randn(num_entities, dim) * MEMORY_SCALE)
        self.relation = nn.Parameter(torch.randn(2 * num_relations, dim) * MEMORY_SCALE)


class LinkPredictor(nn.Module):
    """Scores tails of (head, relation, ?); heads are tails of the inverse relation r + R.

    x_v = e_v + g · W T(text of v),  z_r = e_r;  (x, z) go through the graph encoder, whose edges
    weigh by T(text of r), then through the decoder. g is a learned gate for each dimension, so that
    text can be left out where it does not help.

    Args:
        num_entities: N.
        num_relations: R, inverses not counted.
        decoder: scores.
        encoder: passes messages; None leaves the features as they are.
        features: encodings of texts, kept as buffers outside the checkpoint (they can always be
            made again); None for a model without text.
        feature_dropout: share of a text encoding that is dropped in training.
        text_weight: factor of the nodes' encodings; the smaller, the slower text gains its say.
    """

    node_text: Tensor | None
    relation_text: Tensor | None

    def __init__(
        self,
        num_entities: int,
        num_relations: int,
        decoder: Decoder,
        encoder: GraphEncoder | None,
        features: TextFeatures | None,
        feature_dropout: float = 0.2,
        text_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_relations = num_relations
        self.memory: Memory | None = None
        self.decoder, self.encoder = decoder, encoder
        self.entity = nn.Parameter(torch.randn(num_entities, decoder.dim) * INITIAL_SCALE)
        self.relation = nn.Parameter(
            torch.randn(2 * num_relations, decoder.relation_dim) * INITIAL_SCALE
        )
        self.feature_dropout = Dropout(feature_dropout)
        self.text_weight = text_weight
        nodes = features.nodes if features else None
        # Unit-length encodings have entries near d^-1/2: scaled, so that one learning rate fits.
        self.register_buffer("node_text", _scaled(nodes, text_weight), persistent=False)
        relations = _padded(features.relations, num_relations) if features else None
        self.register_buffer("relation_text", _scaled(relations), persistent=False)
        self.node_projection: nn.Linear | None = None
        if nodes is not None:
            self.node_projection = nn.Linear(nodes.shape[1], decoder.dim, bias=False)
            self.node_gate = nn.Parameter(torch.ones(decoder.dim))
        if encoder is not None and decoder.relation_dim != decoder.dim:
            # CompGCN composes nodes with relations; RotatE's relations are half as wide.
            self.relation_lift: nn.Module = nn.Linear(decoder.relation_dim, decoder.dim)
            self.relation_drop: nn.Module = nn.Linear(decoder.dim, decoder.relation_dim)
        else:
            self.relation_lift = self.relation_drop = nn.Identity()

    def remember(self, dim: int) -> Memory:
        """Give it a memory beside what it is: its score is the sum of both from now on.

        s(h, r, t) = decoder(x_h, z_r, x_t) + Re⟨m_h, m_r, conj m_t⟩

        Args:
            dim: width of the memory's vectors, even.
        """
        entities = self.entity.shape[0]
        self.memory = Memory(entities, self.num_relations, dim).to(self.entity.device)
        self.decoder = Beside(self.decoder, ComplEx(dim))
        return self.memory

    def node_features(self, nodes: Tensor | None = None) -> Tensor:
        """x [N, d] before any message, or [n, d] of some nodes (int64 [n])."""
        entity = self.entity if nodes is None else self.entity[nodes]
        if self.node_projection is None or self.node_text is None:
            return entity
        given = self.node_text if nodes is None else self.node_text[nodes]
        return entity + self.node_gate * self.node_projection(self.feature_dropout(given))

    def read_anew(self, node: int, encoding: Tensor) -> Tensor | None:
        """Put another text's encoding [d_t] in the place of a node's.

        Returns:
            The vector that `node_text` had there; None for a model without texts of nodes.
        """
        if self.node_text is None:
            return None
        before = self.node_text[node].clone()
        scaled = _scaled(encoding[None], self.text_weight)
        assert scaled is not None
        self.node_text[node] = scaled[0].to(self.node_text)
        return before

    def encode(
        self, graph: MessageGraph | None, nodes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors of nodes [N, d] and relations [2R, d_r] after the messages of `graph`.

        Args:
            graph: over all entities, or over `nodes`; None for no message.
            nodes: int64 [n], the entities that are the nodes of `graph`; all where None.
        """
        x, z = self._passed(graph, nodes)
        if self.memory is None:
            return x, z
        own = self.memory.entity if nodes is None else self.memory.entity[nodes]
        return torch.cat([x, own], -1), torch.cat([z, self.memory.relation], -1)

    def _passed(
        self, graph: MessageGraph | None, nodes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        x, z = self.node_features(nodes), self.relation
        if self.encoder is None or graph is None:
            return x, z
        x, passed = self.encoder(x, self.relation_lift(z), graph, self.relation_text)
        if isinstance(self.relation_drop, nn.Identity):
            return x, passed
        return x, z + self.relation_drop(passed - self.relation_lift(z))

    def score_tails(
        self, encoded: tuple[Tensor, Tensor], heads: Tensor, relations: Tensor
    ) -> Tensor:
        """Scores [B, N] of every tail for heads [B] and relations [B] in [0, 2R)."""
        x, z = encoded
        return self.decoder.score_all(x[heads], z[relations], x)


def build_predictor(
    config: Config, num_entities: int, num_relations: int, features: TextFeatures | None
) -> LinkPredictor:
    """Build the model that a configuration describes.

    Args:
        config: sections gnn and decoder are read.
        num_entities: N.
        num_relations: R; may be larger than the data set's: see `World.num_relations`.
        features: encodings, or None.
    """
    decoder = make_decoder(config.decoder.kind, config.decoder.dim, config.decoder.dropout)
    encoder = None
    gnn = config.gnn
    if gnn.kind != "none":
        text_dim = features.relations.shape[1] if features else 0
        own: dict[str, dict[str, int | str]] = {
            "rgcn": {
                "num_bases": gnn.bases,
                "decomposition": gnn.decomposition,
                "alpha": gnn.alpha,
            },
            "compgcn": {"composition": gnn.composition},
            "attention": {"num_heads": gnn.heads},
        }
        encoder = make_encoder(
            gnn.kind,
            config.decoder.dim,
            2 * num_relations,
            num_layers=gnn.layers,
            text_dim=text_dim,
            evidence_dim=text_dim if gnn.evidence else 0,
            dropout=gnn.dropout,
            **own[gnn.kind],
        )
    return LinkPredictor(
        num_entities,
        num_relations,
        decoder,
        encoder,
        features,
        config.text.feature_dropout,
        config.text.weight,
    )


def without_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A predictor's tensors by name, as they were before it was given a memory."""
    return {
        name.replace("decoder.first.", "decoder.", 1): tensor
        for name, tensor in tensors.items()
        if not name.startswith("memory.")
    }


def shape_like(model: LinkPredictor, tensors: Mapping[str, Tensor]) -> None:
    """Give a new predictor a memory, if the tensors that it is to take have one."""
    if (entity := tensors.get("memory.entity")) is not None:
        model.remember(entity.shape[1])


def _scaled(encoding: Tensor | None, weight: float = 1.0) -> Tensor | None:
    return None if encoding is None else encoding * (weight * encoding.shape[1] ** 0.5)


def _padded(relations: Tensor, num_relations: int) -> Tensor:
    """Zero rows for relations that a control added: they have no text."""
    missing = num_relations - relations.shape[0]
    return torch.cat([relations, relations.new_zeros(missing, relations.shape[1])])
