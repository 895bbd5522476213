"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are words, aligned left, and the others numbers."""
    rule = [*["---"] * words, *["---:"] * (len(titles) - words)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (titles, rule, *rows))
