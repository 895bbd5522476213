"""Words with every mention and every relation between them: what several formats come down to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from relgnn.errors import InputError


class Marked(NamedTuple):
    """A sentence as its file has it, in which nothing is checked.

    Args:
        words: its tokens.
        spans: words [start, end) of each mention.
        types: kind of each mention's entity, "" where unknown.
        relations: (head, tail, label), places in `spans`.
    """

    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    types: tuple[str, ...]
    relations: tuple[tuple[int, int, str], ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Marked:
        """One line: `tokens`, `entities` ([{"span", "type"}]), `relations` ([{"head", "tail",
        "type"}]).

        Raises:
            KeyError, TypeError, ValueError: something is missing, or is of another kind.
        """
        spans = [(int(start), int(end)) for start, end in (x["span"] for x in entry["entities"])]
        types = [str(x.get("type") or "") for x in entry["entities"]]
        stated = [(int(x["head"]), int(x["tail"]), str(x["type"])) for x in entry["relations"]]
        words = [str(token) for token in entry["tokens"]]
        return cls(tuple(words), tuple(spans), tuple(types), tuple(stated))

    def require_places(self) -> None:
        """Refuse spans outside of the words, and relations of what is no mention.

        Raises:
            InputError: there is one.
        """
        for i, (start, end) in enumerate(self.spans):
            if not 0 <= start < end <= len(self.words):
                raise InputError(
                    f"span [{start}, {end}) of entity {i} is outside of the {len(self.words)} "
                    "tokens: expected 0 <= start < end <= their number"
                )
        for head, tail, label in self.relations:
            if head == tail or not 0 <= min(head, tail) <= max(head, tail) < len(self.spans):
                raise InputError(
                    f"relation {label!r} is between entities {head} and {tail}: expected two of "
                    f"the {len(self.spans)}, counted from 0"
                )
