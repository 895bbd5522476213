"""The contract of an augmenter, and changes of a sentence that keep its mentions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from relgnn.data.mentions import Span, overlap
from relgnn.data.relations import Example

Edit = tuple[int, int, str]
"""Characters [start, end) of a text, and what stands in their place."""

# whole words: nothing that a hyphen or an apostrophe joins to another
_WORD = re.compile(r"(?<![\w'’-])[^\W\d_]{3,}(?![\w'’-])")


class Augmenter(ABC):
    """Rewrites sentences so that they still state the same relation of the same two mentions."""

    def augment(self, examples: Sequence[Example], generator: np.random.Generator) -> list[Example]:
        """Rewrites, at most one of each example, in the order of the examples.

        The label and both types are kept, the text is another one, and the spans point at the
        mentions in it: the same words, or (entity swap) other mentions of the same type.

        Args:
            examples: what to rewrite.
            generator: of all draws; the same state gives the same rewrites.
        """
        found = zip(examples, self.rewrite(examples, generator), strict=True)
        return [new for old, new in found if new is not None and new.text != old.text]

    @abstractmethod
    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """A rewrite of each example, in order; None where there is none."""


def edited(example: Example, edits: Sequence[Edit]) -> Example:
    """The example with parts of its text replaced; the mentions move along.

    An edit is outside of a mention, or exactly a mention: then the mention is what it puts there.

    Args:
        example: what to change.
        edits: do not overlap; one with start = end inserts.
    """
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [example.text[at:start], new]
        at = end
    parts.append(example.text[at:])

    def grown(place: int, is_end: bool) -> int:
        # what is inserted where a mention ends is behind it, and where it starts before it
        return sum(
            len(new) - (end - start)
            for start, end, new in edits
            if end <= place and not (is_end and start == place)
        )

    head, tail = (
        (a + grown(a, False), b + grown(b, True)) for a, b in (example.head, example.tail)
    )
    return example._replace(text="".join(parts), head=head, tail=tail)


def relocated(example: Example, text: str) -> Example | None:
    """The example with another text; None unless it names each mention once, apart."""
    spans = []
    for start, end in (example.head, example.tail):
        mention = re.escape(example.text[start:end])
        # letters of scripts without spaces may touch a mention, Latin ones may not
        found = [x.span() for x in re.finditer(f"(?<![0-9A-Za-z]){mention}(?![0-9A-Za-z])", text)]
        if len(found) != 1:
            return None
        spans += found
    head, tail = spans
    return None if overlap(head, tail) else example._replace(text=text, head=head, tail=tail)


def content_words(example: Example) -> list[Span]:
    """Where words of content stand: whole, outside of both mentions, and no stop words."""
    spans = [x.span() for x in _WORD.finditer(example.text)]
    return [
        (a, b)
        for a, b in spans
        if not overlap((a, b), example.head)
        and not overlap((a, b), example.tail)
        and example.text[a:b].lower() not in ENGLISH_STOP_WORDS
    ]
