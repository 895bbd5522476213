"""One thread, and the toy world's encodings."""

from __future__ import annotations

import pytest

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.features import TextFeatures, encode_features
from tests.linkpred import toy

one_thread = toy.one_thread


@pytest.fixture(scope="session")
def graph() -> KnowledgeGraph:
    return toy.toy_graph()


@pytest.fixture(scope="session")
def features(graph: KnowledgeGraph) -> TextFeatures:
    return encode_features(graph, toy.HashEncoder())
