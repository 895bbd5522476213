"""Candidate pairs of a corpus of any size: sentences in, rows of evidence out, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from relgnn.data import Sentence
from relgnn.data.mentions import Span
from relgnn.text.coreference import Coreference
from relgnn.text.linking import COREFERENT, EXACT, Mention, MentionLinker

NO_SPAN = (-1, -1)
CHUNK = 4096
"""Sentences whose rows are made at once."""

Row = tuple[int, int, int, Span, Span, int, bool]
"""Head, tail, sentence, head's span, tail's span, kind of the tail, head is coreferent."""


class EvidenceRows(NamedTuple):
    """Rows of `Evidence` without the numbers of their pairs, in columns; see there.

    Args:
        head, tail, sentence, kind: int64 [M].
        head_span, tail_span: int64 [M, 2].
        head_coreferent: bool [M].
    """

    head: np.ndarray
    tail: np.ndarray
    sentence: np.ndarray
    head_span: np.ndarray
    tail_span: np.ndarray
    kind: np.ndarray
    head_coreferent: np.ndarray


def link_stream(
    sentences: Iterable[Sentence],
    linker: MentionLinker,
    coreference: Coreference | None = None,
    chunk: int = CHUNK,
) -> Iterator[EvidenceRows]:
    """Link sentences as they come, and forget them.

    What is held at a time is the sentences of one chunk, its rows and one text, however long the
    corpus; the rows, laid end to end, do not depend on the chunk.

    Args:
        sentences: of one text after another, as `data.sentences_of` cuts texts as they are read.
        linker: finds names; it is the only thing that grows with the number of entities.
        coreference: resolves subjects that are pronouns or descriptions; None: names alone.
        chunk: sentences a chunk at least; a text that has begun is finished.

    Raises:
        ValueError: `chunk` is below 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; give at least one sentence")
    rows: list[Row] = []
    read = 0
    for text in _pieces(sentences, whole=coreference is not None):
        found = [linker.link(sentence.text) for sentence in text]
        subjects = coreference.resolve(text, found) if coreference else [None] * len(text)
        for sentence, mentions, subject in zip(text, found, subjects, strict=True):
            rows += _rows(sentence, mentions, subject)
        read += len(text)
        if read >= chunk:
            yield columns(rows)
            rows, read = [], 0
    if rows:
        yield columns(rows)


def _pieces(sentences: Iterable[Sentence], whole: bool) -> Iterator[list[Sentence]]:
    """The sentences of each text where a text must be known `whole`, else one by one."""
    if whole:
        for _, text in groupby(sentences, key=lambda sentence: sentence.text_id):
            yield list(text)
    else:
        for sentence in sentences:
            yield [sentence]


def _rows(sentence: Sentence, mentions: list[Mention], subject: Mention | None) -> Iterator[Row]:
    """(page's entity, mention) of any kind, and (name, name) where both have a capital."""
    if subject is not None:
        mentions = sorted([*mentions, subject], key=lambda m: (m.start, m.end, m.entity))
    page = sentence.entity
    own = next((m for m in mentions if m.entity == page), None)
    own_span = (own.start, own.end) if own else NO_SPAN
    own_coreferent = own is not None and own.kind == COREFERENT
    if page is not None:
        for m in mentions:
            if m.entity != page:
                span = (m.start, m.end)
                yield page, m.entity, sentence.id, own_span, span, m.kind, own_coreferent
    names = [m for m in mentions if m.entity != page and _is_name(m, sentence.text)]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = sorted((first, second), key=lambda m: m.entity)
            spans = (a.start, a.end), (b.start, b.end)
            # Either is named exactly or coreferent, which is its kind.
            yield a.entity, b.entity, sentence.id, *spans, b.kind, a.kind == COREFERENT


def _is_name(mention: Mention, text: str) -> bool:
    return mention.kind == COREFERENT or (mention.kind == EXACT and text[mention.start].isupper())


def columns(rows: Sequence[Row]) -> EvidenceRows:
    """Rows in columns."""
    head, tail, sentence, head_span, tail_span, kind, coreferent = (
        zip(*rows, strict=True) if rows else [()] * 7
    )

    def number(values: Sequence[object], *shape: int) -> np.ndarray:
        return np.array(values, dtype=np.int64).reshape(-1, *shape)

    return EvidenceRows(
        number(head), number(tail), number(sentence), number(head_span, 2), number(tail_span, 2),
        number(kind), np.array(coreferent, dtype=bool),
    )  # fmt: skip


def joined(parts: Iterable[EvidenceRows]) -> EvidenceRows:
    """Chunks laid end to end."""
    held = [columns([]), *parts]
    return EvidenceRows(*(np.concatenate(column) for column in zip(*held, strict=True)))
