"""Descriptions as unlabelled texts: what is read, and what is no longer known."""

from __future__ import annotations

from pathlib import Path

import pytest

from relgnn.config.base import DataConfig
from relgnn.config.marked import MarkedDataConfig
from relgnn.data import KnowledgeGraph, Text
from relgnn.data.described import read_descriptions
from relgnn.data.registry import load_graph
from relgnn.linkpred.features import encode_features
from tests.linkpred.toy import HashEncoder


@pytest.fixture
def graph() -> KnowledgeGraph:
    said = ("a stone that marks a grave", "Ska is music. It is fast.", "", "of no name")
    return KnowledgeGraph(
        "toy", ("a", "b", "c", "d"), ("r",), ("tombstone", "ska", "rock", ""), said, ("is",), ("",),
        [[0, 0, 1]], [], [], texts=(Text("t", "Rock is loud.", 2),),
    )  # fmt: skip


def test_each_description_is_its_entitys_page_and_names_it(graph: KnowledgeGraph) -> None:
    found = read_descriptions(graph)
    assert [(text.id, text.text, text.entity) for text in found.texts] == [
        ("t", "Rock is loud.", 2),
        ("about a", "tombstone: a stone that marks a grave", 0),
        ("about b", "Ska is music. It is fast.", 1),
        ("about d", "of no name", 3),
    ]
    assert set(found.entity_descriptions) == {""}
    assert found.checksum != graph.checksum and found.train.tolist() == graph.train.tolist()


def test_names_alone_are_features(graph: KnowledgeGraph) -> None:
    encoder = HashEncoder()
    nodes = encode_features(read_descriptions(graph), encoder, "name").nodes
    assert nodes is not None
    assert nodes.equal(encoder.encode(["tombstone", "ska", "rock", "d"], ""))
    other = encode_features(read_descriptions(graph), encoder, "node").nodes
    assert other is not None and not other[1].equal(nodes[1])


def test_a_configuration_says_what_descriptions_are(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tr\tb\n")
    for split in ("valid", "test"):
        (tmp_path / f"{split}.tsv").write_text("")
    (tmp_path / "entities.tsv").write_text("a\tAnn\ta person\nb\tBonn\ta town\n")
    known = load_graph(DataConfig(path=tmp_path))
    read = load_graph(DataConfig(path=tmp_path, descriptions="texts"))
    assert (len(known.texts), len(read.texts)) == (0, 2)
    assert (known.entity_descriptions[0], read.entity_descriptions[0]) == ("a person", "")
    with pytest.raises(ValueError, match="has descriptions=texts"):
        MarkedDataConfig(path=tmp_path, descriptions="texts")
