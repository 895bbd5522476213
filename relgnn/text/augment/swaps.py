"""Other mentions in the place of the two, and clauses beside them that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from relgnn.data.mentions import Span, overlap
from relgnn.data.relations import Example
from relgnn.text.augment.base import Augmenter, Edit, edited

CLAUSES = (
    "as the report says", "as everybody knows", "according to the newspaper", "to be precise",
    "as was said before", "as far as we can tell", "in other words", "on the other hand",
    "as it turned out later", "to tell the truth", "as several people noticed",
    "for whatever reason",
)  # fmt: skip
"""They name nothing and no relation."""


class EntitySwap(Augmenter):
    """Puts mentions of the same type, from other sentences, in the place of one or both.

    Where an entity has no type, a mention on the same side of the same relation takes its place.

    Args:
        examples: training sentences, whose mentions are drawn from.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        # of each kind, every mention's place among its different ones
        self.places: dict[tuple[object, ...], dict[str, int]] = {}
        for one in examples:
            for side in (0, 1):
                places = self.places.setdefault(_kind(one, side), {})
                places.setdefault(_mention(one, side), len(places))
        self.pools = {kind: list(places) for kind, places in self.places.items()}

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        return [self._rewrite(one, generator) for one in examples]

    def _rewrite(self, one: Example, generator: np.random.Generator) -> Example | None:
        if overlap(one.head, one.tail):
            return None
        sides = ((0,), (1,), (0, 1))[generator.integers(3)]
        edits: list[Edit] = []
        for side in sides:
            other = self._other(_kind(one, side), _mention(one, side), generator)
            if other is not None:
                edits.append((*_span(one, side), other))
        return edited(one, edits) if edits else None

    def _other(
        self, kind: tuple[object, ...], own: str, generator: np.random.Generator
    ) -> str | None:
        """A mention of a kind that is not `own`, drawn without a look at the others."""
        pool = self.pools.get(kind, [])
        place = self.places.get(kind, {}).get(own, len(pool))
        others = len(pool) - (place < len(pool))
        if not others:
            return None
        drawn = int(generator.integers(others))
        return pool[drawn + (drawn >= place)]


class Distractors(Augmenter):
    """Adds a clause that says nothing of the two, before the sentence or at its end."""

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        return [self._rewrite(one, generator) for one in examples]

    def _rewrite(self, one: Example, generator: np.random.Generator) -> Example:
        clause = CLAUSES[generator.integers(len(CLAUSES))]
        return _before(one, clause) if generator.random() < 0.5 else _behind(one, clause)


def _before(one: Example, clause: str) -> Example:
    first = one.text.partition(" ")[0]
    outside = min(one.head[0], one.tail[0]) >= len(first)
    # a name keeps its capital
    if outside and first != "I" and first.lower() in ENGLISH_STOP_WORDS:
        return edited(one, [(0, len(first), f"{clause.capitalize()}, {first.lower()}")])
    return edited(one, [(0, 0, f"{clause.capitalize()}, ")])


def _behind(one: Example, clause: str) -> Example:
    place = len(one.text.rstrip(".!? "))
    if place < max(one.head[1], one.tail[1]):  # a mention ends in a stop, as "Acme Inc." does
        place = len(one.text)
    return edited(one, [(place, place, f", {clause}")])


def _span(one: Example, side: int) -> Span:
    return (one.head, one.tail)[side]


def _mention(one: Example, side: int) -> str:
    return one.text[slice(*_span(one, side))]


def _kind(one: Example, side: int) -> tuple[object, ...]:
    """What mentions must share to stand for one another."""
    kind = (one.head_type, one.tail_type)[side]
    return (kind,) if kind else (one.relation, side)
