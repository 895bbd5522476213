"""What the language model says of nodes and relations, as tensors for the graph side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.text.encoder import TextEncoder


@dataclass(frozen=True)
class TextFeatures:
    """Encodings of a graph's texts.

    Args:
        nodes: [N, d_t], of name, description and first sentence (or the whole page), or None.
        relations: [R, d_t], of each relation's name and description.
    """

    nodes: Tensor | None
    relations: Tensor


def encode_features(
    graph: KnowledgeGraph, encoder: TextEncoder, node_features: str = "node"
) -> TextFeatures:
    """Encode the texts of a graph's nodes and relations.

    Args:
        graph: where the texts are.
        encoder: the language model.
        node_features: "node" (name, description, first sentence), "page" (node text and the mean
            over every sentence of the entity's own page, the row `alltext`), "name" (its name
            alone, its id where it has none) or "none".
    """
    relations = encoder.encode(
        [
            f"{name}: {description}" if description else name
            for name, description in zip(
                graph.relation_names, graph.relation_descriptions, strict=True
            )
        ],
        "encoding relations",
    )
    if node_features == "none":
        return TextFeatures(None, relations)
    if node_features == "name":
        texts = [graph.entity_label(i) for i in range(graph.num_entities)]
    else:
        texts = graph.node_texts()
    nodes = encoder.encode(texts, "encoding nodes")
    if node_features == "page":
        nodes = nodes + _page_vectors(graph, encoder)
        nodes = torch.nn.functional.normalize(nodes, dim=1)
    return TextFeatures(nodes, relations)


def _page_vectors(graph: KnowledgeGraph, encoder: TextEncoder) -> Tensor:
    """Mean [N, d_t] over the sentences of each entity's pages; zero where it has none."""
    sentences = [s for s in graph.sentences() if s.entity is not None]
    vectors = encoder.encode([s.text for s in sentences], "encoding pages")
    owner = torch.tensor([s.entity for s in sentences], dtype=torch.long)
    total = torch.zeros(graph.num_entities, encoder.dim).index_add_(0, owner, vectors)
    count = torch.bincount(owner, minlength=graph.num_entities).clamp(min=1)
    return total / count[:, None]
