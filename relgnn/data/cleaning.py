"""Changes of a text that carry the places of its mentions along."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np

from relgnn.data.mentions import Span
from relgnn.data.sentences import split_sentences

Marked = tuple[str, list[Span]]
"""A text and characters [start, end) of its mentions."""

# Control and format characters, and halves of what UTF-16 writes in two
_UNSEEN = ("Cc", "Cf", "Cs")
# These two shape letters and symbols that stand beside them.
_JOINERS = "\u200c\u200d"
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def clean(text: str, spans: Sequence[Span] = ()) -> Marked:
    """Composed letters (Unicode's NFC), no unseen characters, one space for any white space.

    A mention loses the white space at its ends.
    """
    text = "".join(" " if one.isspace() else one for one in text)
    seen = [_is_seen(one) for one in text]
    text, spans = _keep(text, seen, spans)
    text, spans = _keep(
        text, [a + b != "  " for a, b in zip(" " + text, text, strict=False)], spans
    )
    text, spans = _composed(text.rstrip(), spans)
    return text, [_trimmed(text, span) for span in spans]


def drop_words(text: str, spans: Sequence[Span], words: Collection[str]) -> Marked:
    """The text without the given words (lower case), those in mentions excepted."""
    kept = np.ones(len(text), dtype=bool)
    for one in _WORD.finditer(text):
        start, end = one.span()
        if one.group().lower() in words and not any(a < end and start < b for a, b in spans):
            kept[start:end] = False
    return clean(*_keep(text, kept.tolist(), spans))


def around_mentions(text: str, spans: Sequence[Span]) -> Marked:
    """The text from the sentence of its first mention to that of its last; all without mentions."""
    if not spans:
        return text, []
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    sentences = split_sentences(text)
    begin = max((start for start, _ in sentences if start <= first), default=0)
    end = min((end for _, end in sentences if end >= last), default=len(text))
    return text[begin:end], [(a - begin, b - begin) for a, b in spans]


def _is_seen(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in _UNSEEN


def _keep(text: str, kept: Sequence[bool], spans: Sequence[Span]) -> Marked:
    """The characters that are kept."""
    before = [0, *np.cumsum(np.asarray(kept, dtype=int)).tolist()]
    left = "".join(one for one, stays in zip(text, kept, strict=True) if stays)
    return left, [(before[start], before[end]) for start, end in spans]


def _composed(text: str, spans: Sequence[Span]) -> Marked:
    """NFC between the ends of mentions; an accent goes with the letter before it."""

    def edge(place: int) -> int:
        place = min(place, len(text))
        while place < len(text) and unicodedata.combining(text[place]):
            place += 1
        return place

    ends = [(edge(start), edge(end)) for start, end in spans]
    place, parts, length = {0: 0}, [], 0
    for start, end in pairwise(sorted({0, len(text), *(x for span in ends for x in span)})):
        parts.append(unicodedata.normalize("NFC", text[start:end]))
        length += len(parts[-1])
        place[end] = length
    return "".join(parts), [(place[start], place[end]) for start, end in ends]


def _trimmed(text: str, span: Span) -> Span:
    piece = text[slice(*span)]
    start = span[0] + len(piece) - len(piece.lstrip())
    return start, max(start, span[0] + len(piece.rstrip()))
