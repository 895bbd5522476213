"""Search over names: whole, then as a beginning, then anywhere within."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain


class NameSearch:
    """Finds entities by a part of their name or id, whatever its case.

    All names are one string, so that a search is a run of memory and not a loop in Python.

    Args:
        ids, names: of the entities; "" where a name is unknown.
    """

    def __init__(self, ids: Sequence[str], names: Sequence[str]) -> None:
        self._starts, self._size, lines = [], len(ids), ["\n"]
        place = 1
        for text in chain(names, ids):
            line = text.casefold().replace("\n", " ") + "\n"
            self._starts.append(place)
            lines.append(line)
            place += len(line)
        self._text = "".join(lines)

    def find(self, written: str, limit: int) -> list[int]:
        """Numbers of at most `limit` entities, the best first."""
        part = written.casefold().replace("\n", " ")
        found: dict[int, None] = {}
        for needle in (f"\n{part}\n", f"\n{part}", part):
            for number in self._matches(needle):
                found[number] = None
                if len(found) == limit:
                    return list(found)
        return list(found)

    def _matches(self, needle: str) -> Iterator[int]:
        at = self._text.find(needle)
        while at >= 0:
            # a needle that begins with a line break begins before its name
            line = bisect_right(self._starts, at + (needle[0] == "\n")) - 1
            if line >= 0:
                yield line % self._size
            at = self._text.find(needle, at + 1)
