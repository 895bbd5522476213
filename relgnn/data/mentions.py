"""Where a text names an entity."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relgnn.errors import InputError

Span = tuple[int, int]
"""Characters [start, end) of a text."""


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans share a character."""
    return one[0] < other[1] and other[0] < one[1]


def find_mention(text: str, name: str, side: str, taken: Sequence[Span] = ()) -> Span:
    """Characters [start, end) of the first place where a text names `name`.

    A place between word boundaries is preferred to one inside a word, and one outside of `taken` to
    one that overlaps it.

    Args:
        text: where to look.
        name: what to look for, letter by letter.
        side: "head" or "tail", for the error.
        taken: mentions of others.

    Raises:
        InputError: the name is empty, or the text names it nowhere but as one of `taken`.
    """
    name = name.strip()
    if not name:
        raise InputError(f"the {side} is empty; give a name that the text holds")
    spans = [one.span() for one in re.finditer(rf"(?={re.escape(name)})", text)]
    found = [(start, start + len(name)) for start, _ in spans]
    free = [span for span in found if span not in taken]
    if not free:
        again = " a second time" if found else ""
        raise InputError(
            f"the text does not name the {side} {name!r}{again}; write it as the text does"
        )

    def preference(span: Span) -> tuple[bool, bool, Span]:
        return any(overlap(span, one) for one in taken), not _whole(text, span), span

    return min(free, key=preference)


def _whole(text: str, span: Span) -> bool:
    """Whether no word goes on beyond either end."""
    around = text[max(span[0] - 1, 0) : span[0]], text[span[1] : span[1] + 1]
    return not any(one.isalnum() and not no_spaces(one) for one in around)


def no_spaces(character: str) -> bool:
    """Whether it belongs to a script that is written without spaces: Chinese or Japanese."""
    return "\u3000" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"
