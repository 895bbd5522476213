"""Sentences with two marked entities: which tokens a row has, and which of them are whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from relgnn.data import KnowledgeGraph, Sentence
from relgnn.data.mentions import Span, overlap
from relgnn.text.blocking import NO_SPAN
from relgnn.text.evidence import Evidence
from relgnn.text.linking import COREFERENT

NEITHER, HEAD, TAIL = 0, 1, 2
"""Roles of a token: none, in the head's mention, in the tail's."""
LEAST_TOKENS = 16


class Occurrence(NamedTuple):
    """One sentence that may speak of a pair; a span is `NO_SPAN` where the entity is unnamed.

    A coreferent span, a pronoun or a description, does not say who it is.
    """

    text: str
    head_name: str
    tail_name: str
    head_span: Span
    tail_span: Span
    head_coreferent: bool = False
    tail_coreferent: bool = False


def occurrences(
    graph: KnowledgeGraph, sentences: Sequence[Sentence], evidence: Evidence, rows: np.ndarray
) -> list[Occurrence]:
    """The given rows of `evidence` with their words.

    Args:
        graph: names of entities.
        sentences: the corpus that `evidence` was found in; position = id.
        evidence: who is where.
        rows: int64 [M], rows of `evidence`.
    """
    names, coreferent = graph.entity_names, evidence.head_coreferent
    columns = (
        evidence.sentence, evidence.head, evidence.tail, evidence.head_span, evidence.tail_span,
        np.zeros(len(evidence.head), bool) if coreferent is None else coreferent,
        evidence.kind == COREFERENT,
    )  # fmt: skip
    return [
        Occurrence(sentences[s].text, names[h], names[t], (a, b), (c, d), *flags)
        for s, h, t, (a, b), (c, d), *flags in zip(
            *(x[rows].tolist() for x in columns), strict=True
        )
    ]


class TextTokens(NamedTuple):
    """Where the tokens of a text that was read are, and which characters each stands for.

    Args:
        start: place of the first token among those of all texts.
        characters: int [L, 2], [start, end) of each token; (0, 0) of special tokens.
    """

    start: int
    characters: np.ndarray


@dataclass(frozen=True)
class MarkedTokens:
    """The tokens of M rows one after another, without padding.

    Args:
        place: int64 [S], each token's place among those of all texts.
        owner: int8 [S], NEITHER, HEAD or TAIL: whose mention the token belongs to.
        offsets: int64 [M + 1], where each row begins and ends.
    """

    place: np.ndarray
    owner: np.ndarray
    offsets: np.ndarray


def mark(
    rows: Sequence[Occurrence], texts: Mapping[str, TextTokens], max_tokens: int
) -> MarkedTokens:
    """Choose each row's tokens and say whose they are.

    An entity that the sentence does not name stands before it: "Ada Lovelace She was born in
    London." So does the head where both mentions overlap, and whom a sentence only calls "She",
    which is marked as well. Of a sentence that is too long, the
    tokens nearest to either mention are kept, so that no mention is lost.

    Args:
        rows: what to mark.
        texts: every sentence and name of `rows`.
        max_tokens: longest row; at least 16.
    """
    if max_tokens < LEAST_TOKENS:
        raise ValueError(f"max_tokens is {max_tokens}; two marked names need {LEAST_TOKENS}")
    marked = [_mark(row, texts, max_tokens) for row in rows]
    lengths = [len(place) for place, _ in marked]
    return MarkedTokens(
        np.concatenate([np.zeros(0, np.int64), *(place for place, _ in marked)]),
        np.concatenate([np.zeros(0, np.int8), *(owner for _, owner in marked)]),
        np.cumsum([0, *lengths]),
    )


def _mark(
    row: Occurrence, texts: Mapping[str, TextTokens], max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    longest_name = max_tokens // 4
    sentence = texts[row.text]
    head, tail = (
        tokens_of(span, sentence.characters, longest_name)
        for span in (row.head_span, row.tail_span)
    )
    if head and tail and overlap(head, tail):
        head = None
    owner = np.zeros(len(sentence.characters), dtype=np.int8)
    before: list[int] = []
    owner_before: list[int] = []
    for who, span, name, coreferent in (
        (HEAD, head, row.head_name, row.head_coreferent),
        (TAIL, tail, row.tail_name, row.tail_coreferent),
    ):
        if span:
            owner[span[0] : span[1]] = who
        if not span or coreferent:
            named = texts[name]
            first, last = tokens_of((0, len(name)), named.characters, longest_name) or (0, 0)
            before += range(named.start + first, named.start + last)
            owner_before += [who] * (last - first)
    kept = nearest(len(owner), [span for span in (head, tail) if span], max_tokens - len(before))
    place = np.array([*before, *(sentence.start + kept)], dtype=np.int64)
    return place, np.array([*owner_before, *owner[kept]], dtype=np.int8)


def tokens_of(
    span: Span, characters: np.ndarray, longest: int | None = None
) -> tuple[int, int] | None:
    """Tokens [start, end) that overlap the characters `span`, at most the first `longest`.

    None where there are none.
    """
    if span == NO_SPAN:
        return None
    inside = np.flatnonzero((characters[:, 0] < span[1]) & (characters[:, 1] > span[0]))
    if not len(inside):
        return None
    start, end = int(inside[0]), int(inside[-1]) + 1
    return start, end if longest is None else min(end, start + longest)


def nearest(length: int, spans: Sequence[tuple[int, int]], room: int) -> np.ndarray:
    """The `room` places of [0, length) nearest to any of `spans`, in order."""
    place = np.arange(length)
    if length <= room:
        return place
    far = [np.maximum(np.maximum(a - place, place - b + 1), 0) for a, b in spans] or [place]
    return np.sort(np.argsort(np.minimum.reduce(far), kind="stable")[:room])
