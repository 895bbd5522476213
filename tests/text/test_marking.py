"""Marked rows: whose each token is, what stands before a sentence, and that no mention is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.graph import Text
from relgnn.text.blocking import NO_SPAN
from relgnn.text.evidence import find_evidence
from relgnn.text.marking import HEAD, TAIL, Occurrence, TextTokens, mark, occurrences
from tests.text.toy import toy_graph


def tokens(texts: list[str]) -> dict[str, TextTokens]:
    """One token a word, between two special ones, as a tokenizer would give."""
    result, start = {}, 0
    for text in dict.fromkeys(texts):
        spans, at = [(0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        result[text] = TextTokens(start, np.array([*spans, (0, 0)]))
        start += len(spans) + 1
    return result


def read(row: Occurrence, max_tokens: int = 64) -> str:
    """The row's words, the head's in <> and the tail's in []; special tokens as "_"."""
    texts = tokens([row.text, row.head_name, row.tail_name])
    words = {}
    for text, (start, characters) in texts.items():
        for i, (a, b) in enumerate(characters.tolist()):
            words[start + i] = text[a:b] or "_"
    marked = mark([row], texts, max_tokens)
    wrapped = {0: "{}", HEAD: "<{}>", TAIL: "[{}]"}
    return " ".join(
        wrapped[who].format(words[at])
        for at, who in zip(marked.place.tolist(), marked.owner.tolist(), strict=True)
    )


TEXT = "Ada Byron was born in London"
ADA, LONDON = (0, 9), (22, 28)


def row(head: tuple[int, int], tail: tuple[int, int], text: str = TEXT) -> Occurrence:
    return Occurrence(text, "Ada Lovelace", "London", head, tail)


@pytest.mark.parametrize(
    ("occurrence", "expected"),
    [
        (row(ADA, LONDON), "_ <Ada> <Byron> was born in [London] _"),
        (row(LONDON, ADA), "_ [Ada] [Byron] was born in <London> _"),
        (row(NO_SPAN, LONDON), "<Ada> <Lovelace> _ Ada Byron was born in [London] _"),
        (row(ADA, NO_SPAN), "[London] _ <Ada> <Byron> was born in London _"),
        (row(NO_SPAN, NO_SPAN), "<Ada> <Lovelace> [London] _ Ada Byron was born in London _"),
        # One mention within the other: the head goes before.
        (row(ADA, (4, 9)), "<Ada> <Lovelace> _ Ada [Byron] was born in London _"),
        # Beyond what was read of the sentence.
        (row(ADA, (90, 99)), "[London] _ <Ada> <Byron> was born in London _"),
        (row(NO_SPAN, NO_SPAN, ""), "<Ada> <Lovelace> [London] _ _"),
        (Occurrence(TEXT, "", "London", NO_SPAN, LONDON), "_ Ada Byron was born in [London] _"),
    ],
)
def test_each_way_to_stand_in_a_sentence(occurrence: Occurrence, expected: str) -> None:
    assert read(occurrence) == expected


def test_a_long_sentence_keeps_what_is_near() -> None:
    words = [f"w{i}" for i in range(100)]
    text = " ".join(words)
    head, tail = ((text.index(w), text.index(w) + len(w)) for w in ("w20", "w80"))
    kept = read(Occurrence(text, "h", "t", head, tail), max_tokens=16).split()
    assert kept == [*words[16:20], "<w20>", *words[21:25], *words[77:80], "[w80]", *words[81:84]]


@given(
    st.integers(1, 150), st.tuples(*[st.integers(0, 149)] * 4), st.integers(16, 70), st.booleans()
)
def test_both_mentions_survive_any_window(
    length: int, edges: tuple[int, int, int, int], max_tokens: int, named: bool
) -> None:
    words = [f"w{i}" for i in range(length)]
    text = " ".join(words)

    def span(a: int, b: int) -> tuple[int, int]:
        first, last = sorted((a % length, b % length))
        start = len(" ".join(words[:first])) + (first > 0)
        return start, start + len(" ".join(words[first : last + 1]))

    head = span(*edges[:2]) if named else NO_SPAN
    occurrence = Occurrence(text, "some long name of five", "t", head, span(*edges[2:]))
    marked = mark([occurrence], tokens([text, occurrence.head_name, "t"]), max_tokens)
    assert len(marked.place) <= max_tokens
    assert len(np.unique(marked.place)) == len(marked.place)
    assert {HEAD, TAIL} <= set(marked.owner.tolist())


def test_rows_are_laid_end_to_end() -> None:
    rows = [row(ADA, LONDON), row(NO_SPAN, LONDON), row(ADA, LONDON)]
    texts = tokens([TEXT, "Ada Lovelace", "London"])
    together = mark(rows, texts, 64)
    assert together.offsets.tolist() == [0, 8, 18, 26]
    for i, one in enumerate(rows):
        alone = mark([one], texts, 64)
        inside = slice(together.offsets[i], together.offsets[i + 1])
        assert (together.place[inside] == alone.place).all()
        assert (together.owner[inside] == alone.owner).all()
    assert mark([], texts, 64).offsets.tolist() == [0]


def test_too_short_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        mark([], {}, 15)


def test_evidence_becomes_occurrences() -> None:
    graph = toy_graph((Text("p", "Ada saw Bonn. She saw Bonn.", 0),), ("Ada", "Bonn"))
    evidence = find_evidence(graph, graph.sentences())
    found = occurrences(graph, graph.sentences(), evidence, np.arange(len(evidence.pair))[::-1])
    assert found == [
        Occurrence("She saw Bonn.", "Ada", "Bonn", NO_SPAN, (8, 12)),
        Occurrence("Ada saw Bonn.", "Ada", "Bonn", (0, 3), (8, 12)),
    ]


def test_a_pronoun_is_marked_and_its_name_stands_before_it() -> None:
    text = "She was born in London."
    spans = (0, 3), (16, 22)
    texts = tokens([text, "Ada Lovelace", "London"])
    named, spoken, both = (
        mark([Occurrence(text, "Ada Lovelace", "London", *spans, *flags)], texts, 64)
        for flags in ((), (True,), (True, True))
    )
    size = len(named.place)
    assert spoken.owner.tolist()[-size:] == named.owner.tolist()
    assert spoken.place.tolist()[-size:] == named.place.tolist()
    assert set(spoken.owner.tolist()[:-size]) == {HEAD}
    assert len(both.place) == len(spoken.place) + 1
    assert set(both.owner.tolist()[: len(both.place) - size]) == {HEAD, TAIL}
    # A short row keeps both mentions and both names.
    short = mark([Occurrence(text * 9, "Ada Lovelace", "London", *spans, True)],
                 tokens([text * 9, "Ada Lovelace", "London"]), 16)  # fmt: skip
    assert len(short.place) == 16 and short.owner.tolist().count(HEAD) == 3


def test_coreferent_evidence_becomes_coreferent_occurrences() -> None:
    graph = replace(
        toy_graph((Text("p", "Ada saw Bonn. She was in Bonn.", 0),), ("Ada", "Bonn")),
        types=(("human",), ("city",)),
    )
    evidence = find_evidence(graph, graph.sentences(), coreference=True)
    found = occurrences(graph, graph.sentences(), evidence, np.arange(len(evidence.pair)))
    assert [row.head_coreferent for row in found] == [False, True]
    assert found[1].head_span == (0, 3) and not found[1].tail_coreferent
