"""A sentence is not shown while what it states is withheld, whether it was read there or given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relgnn.audit.guard import Guard, numbers_of
from relgnn.audit.policy import Policy
from relgnn.audit.queue import Queue, Withheld, audit_log
from relgnn.config.base import DataConfig
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load_graph

POLICY = Policy(private={"friends": ("friend of",)})


@pytest.fixture
def graph(own_config: Path) -> KnowledgeGraph:
    return load_graph(DataConfig(path=own_config.parent / "data"))


def test_a_given_statement_silences_sentences_that_name_both_ends(
    graph: KnowledgeGraph, tmp_path: Path
) -> None:
    knows = graph.relations.index("knows")
    triple = numbers_of(next(row for row in graph.train if row[1] == knows))
    head, tail = (graph.entity_names[end] for end in (triple[0], triple[2]))
    page = next(text.id for text in graph.texts if text.entity == triple[0])
    log = audit_log(tmp_path)
    guard = Guard(POLICY, graph, Queue(log))
    told = f"{head} has been a friend of {tail} for years."
    assert guard.silences("note:0-9", told)
    # the page's entity need not be named
    assert guard.silences(f"{page}:0-9", f"There {tail} lives, too.")
    for shown in (f"{head} was born in Cork.", f"{tail} was born in Cork.", "It rained."):
        assert not guard.silences("note:0-9", shown)
    assert not Guard(None, graph, Queue(log)).silences("note:0-9", told)
    queue = Queue(log)
    log.append(queue.new([Withheld(guard.graph.ids(triple), "friends", "/v1/explain", None)]))
    [waiting] = queue.items()
    log.append([queue.decision(waiting.id, "released", "ann")])
    assert not guard.silences("note:0-9", told)


def test_a_name_of_many_is_a_name(graph: KnowledgeGraph, tmp_path: Path) -> None:
    """Sixty private statements about people called Smith, of whom a sentence names one so."""
    people = tuple(f"{chr(65 + i // 26)}{chr(97 + i % 26)} Smith" for i in range(60))
    names = (*people, "Ada Abel")
    triples = np.array([[i, 0, 60] for i in range(60)])
    blank = ("",) * 61
    crowd = replace(
        graph, entities=names, entity_names=names, entity_descriptions=blank, aliases=(),
        relations=("knows",), relation_names=("friend of",), relation_descriptions=("",),
        types=((),) * 61, train=triples, valid=triples[:0], test=triples[:0], texts=(),
    )  # fmt: skip
    guard = Guard(POLICY, crowd, Queue(audit_log(tmp_path)))
    assert guard.silences("note:0-9", "Smith has been a friend of Ada Abel.")
    assert not guard.silences("note:0-9", "Smith was born in Cork.")
