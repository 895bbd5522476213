"""Entities and relations by what people write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relgnn.data import KnowledgeGraph, load
from relgnn.data.lookup import find_entity, find_relation, find_triples
from relgnn.errors import InputError

ENTITIES = "a\tAnn\nb\tBob\nc\tAnn\nBob\t\n"


@pytest.fixture
def graph(write_folder: Callable[..., Path]) -> KnowledgeGraph:
    return load(write_folder(entities_tsv=ENTITIES))


def test_ids_go_before_names(graph: KnowledgeGraph) -> None:
    assert find_entity(graph, "a") == 0
    assert find_entity(graph, "Bob") == 3
    assert find_relation(graph, "knows") == 1


def test_a_shared_name_is_told_with_the_ids(graph: KnowledgeGraph) -> None:
    with pytest.raises(InputError, match="2 entities of own have this name; .* ids: a, c$"):
        find_entity(graph, "Ann")


def test_an_unknown_name_is_told_with_the_nearest(graph: KnowledgeGraph) -> None:
    with pytest.raises(InputError, match="'bobb' is not in own; did you mean 'Bob'"):
        find_entity(graph, "bobb")
    with pytest.raises(InputError, match="relation 'zzz' .* such as 'likes', 'knows'"):
        find_relation(graph, "zzz")


def test_a_hint_stands_in_for_the_nearest_names(graph: KnowledgeGraph) -> None:
    with pytest.raises(InputError, match=r"'bobb' is not in own; look it up$"):
        find_entity(graph, "bobb", "look it up")
    with pytest.raises(InputError, match="entity '' is not in own"):
        find_entity(graph, "")


def test_triples_are_found_or_told_with_their_place(graph: KnowledgeGraph) -> None:
    found = find_triples(graph, [("1", ("a", "knows", "b")), ("2", ("Bob", "likes", "c"))])
    assert found.tolist() == [[0, 1, 1], [3, 0, 2]]
    assert find_triples(graph, []).shape == (0, 3)
    with pytest.raises(InputError, match="line 7: relation 'x' is not in own; ask"):
        find_triples(graph, [("line 7", ("a", "x", "b"))], "ask")
