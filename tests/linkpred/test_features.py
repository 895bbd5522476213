"""Encodings of nodes and relations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import encode_features
from tests.linkpred.toy import PEOPLE, HashEncoder, toy_facts, toy_graph


def test_a_node_is_its_node_text_and_a_relation_its_name_and_description(
    graph: KnowledgeGraph,
) -> None:
    encoder = HashEncoder()
    features = encode_features(graph, encoder)
    assert features.nodes is not None
    assert torch.equal(features.nodes, encoder.encode(graph.node_texts()))
    expected = ["born in: place of birth", "lives in", "friend of"]
    assert torch.equal(features.relations, encoder.encode(expected))


def test_a_page_adds_what_the_node_text_does_not_say(graph: KnowledgeGraph) -> None:
    node = encode_features(graph, HashEncoder(), "node").nodes
    page = encode_features(graph, HashEncoder(), "page").nodes
    assert node is not None and page is not None
    assert (page[: len(PEOPLE)] - node[: len(PEOPLE)]).norm(dim=1).min() > 0.05
    assert torch.allclose(page.norm(dim=1), torch.ones(len(page)))


def test_an_entity_without_a_page_has_its_node_text_alone(graph: KnowledgeGraph) -> None:
    silent = replace(graph, texts=tuple(t for t in graph.texts if t.entity != 3))
    node = encode_features(silent, HashEncoder(), "node").nodes
    page = encode_features(silent, HashEncoder(), "page").nodes
    assert node is not None and page is not None
    assert torch.allclose(node[3], page[3])
    assert not torch.allclose(node[4], page[4])


def test_none_leaves_nodes_out_and_keeps_relations(graph: KnowledgeGraph) -> None:
    features = encode_features(graph, HashEncoder(), "none")
    assert features.nodes is None
    assert features.relations.shape == (graph.num_relations, 16)


def test_features_never_read_a_triple(graph: KnowledgeGraph) -> None:
    """Test and valid triples may be anything: what is encoded are the texts."""
    facts, _ = toy_facts()
    none = np.empty((0, 3), dtype=np.int64)
    blind = replace(toy_graph(train=facts[:1]), valid=none, test=none, hidden=none, strata=None)
    for kind in ("node", "page", "none"):
        one, other = HashEncoder(), HashEncoder()
        encode_features(graph, one, kind)
        encode_features(blind, other, kind)
        assert one.asked == other.asked
