"""Linking a stream: rows that do not depend on the chunk, and nothing held but one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data import Sentence
from relgnn.data.graph import Text, sentences_of
from relgnn.text.blocking import NO_SPAN, EvidenceRows, joined, link_stream
from relgnn.text.coreference import Coreference
from relgnn.text.evidence import find_evidence
from relgnn.text.linking import COREFERENT, EXACT, MentionLinker
from tests.text.toy import toy_graph

NAMES = ("Ada", "Bonn", "painter", "Cork", "Ben")
TEXTS = (
    Text("ada", "Ada was born in Bonn. She lives in Cork, a painting far from Bonn.", 0),
    Text("loose", "Cork and Bonn. Ben saw a painter.", None),
    Text("ben", "Ben was born in Cork.\nThe painter was in Bonn. He was in Bonn.", 4),
    Text("empty", "  ", 1),
    Text("bonn", "The city is near Cork and Ada. In Bonn there is Ben. It has a port.", 1),
)
GRAPH = replace(
    toy_graph(TEXTS, NAMES),
    types=(("human",), ("city",), ("profession",), ("city",), ("human",)),
)
LINKER = MentionLinker(NAMES)


def same(one: EvidenceRows, other: EvidenceRows) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
        for a, b in zip(one, other, strict=True)
    )


@given(st.integers(1, 30), st.booleans(), st.permutations(TEXTS), st.integers(0, 5))
def test_chunked_is_whole_for_any_chunk(
    chunk: int, coreference: bool, texts: list[Text], count: int
) -> None:
    resolver = Coreference(GRAPH) if coreference else None
    texts = texts[:count]
    parts = list(link_stream(sentences_of(texts), LINKER, resolver, chunk))
    whole = joined(link_stream(sentences_of(texts), LINKER, resolver, 10**6))
    assert same(joined(parts), whole)
    evidence = find_evidence(
        replace(GRAPH, texts=tuple(texts)), list(sentences_of(texts)), LINKER,
        coreference=coreference,
    )  # fmt: skip
    for name in ("head", "tail", "sentence", "head_span", "tail_span", "kind"):
        np.testing.assert_array_equal(getattr(evidence, name), getattr(whole, name))


def test_a_text_is_finished_where_its_subjects_are_resolved() -> None:
    """However small the chunk, "She" finds the sentence before."""
    resolver = Coreference(GRAPH)
    [rows] = [*link_stream(sentences_of(TEXTS[:1]), LINKER, resolver, 1)]
    own = rows.head == 0
    assert rows.sentence[own].tolist() == [0, 1, 1, 1]
    assert rows.head_coreferent[own].tolist() == [False, True, True, True]
    assert rows.head_span[own].tolist() == [[0, 3], [0, 3], [0, 3], [0, 3]]


def test_a_subject_that_is_somebody_else_makes_pairs_of_its_own() -> None:
    texts = [Text("bonn", "Ben was the mayor of it. He was born in Cork.", 1)]
    rows = joined(link_stream(sentences_of(texts), LINKER, Coreference(GRAPH)))
    found = set(
        zip(
            rows.head.tolist(),
            rows.tail.tolist(),
            rows.sentence.tolist(),
            map(tuple, rows.head_span.tolist()),
            map(tuple, rows.tail_span.tolist()),
            rows.kind.tolist(),
            rows.head_coreferent.tolist(),
            strict=True,
        )  # fmt: skip
    )
    assert found == {
        (1, 4, 0, NO_SPAN, (0, 3), EXACT, False),
        (1, 4, 1, NO_SPAN, (0, 2), COREFERENT, False),
        (1, 3, 1, NO_SPAN, (15, 19), EXACT, False),
        # Cork has the smaller id, so it is the head.
        (3, 4, 1, (15, 19), (0, 2), COREFERENT, False),
    }


@pytest.mark.parametrize("coreference", [False, True])
def test_nothing_is_held_but_one_chunk(coreference: bool) -> None:
    """Sentences of a stream without end are let go, and none is read before it is needed."""
    alive: weakref.WeakSet[Sentence] = weakref.WeakSet()

    def stream() -> Iterator[Sentence]:
        texts = (Text(str(n), TEXTS[n % 5].text, TEXTS[n % 5].entity) for n in range(10**9))
        for sentence in sentences_of(texts):
            alive.add(sentence)
            yield sentence

    resolver = Coreference(GRAPH) if coreference else None
    rows = link_stream(stream(), LINKER, resolver, chunk=10)
    most = 0
    for _ in range(30):
        part = next(rows)
        most = max(most, len(alive))
        assert np.ptp(part.sentence) < 10 + 3
    assert most <= 10 + 3


def test_no_sentence_gives_no_chunk() -> None:
    assert list(link_stream([], LINKER)) == []
    assert joined([]).head_span.shape == (0, 2)


def test_a_chunk_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk is 0; give at least one sentence"):
        next(link_stream([], LINKER, chunk=0))
