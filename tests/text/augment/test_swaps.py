"""Which other mentions a swap draws, and what it looks at to draw them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from relgnn.data.relations import Example
from relgnn.text.augment import EntitySwap

NAMES = ("Ada", "Ben", "Cleo", "Dora", "Emil")


def said_of(head: str, tail: str, kind: str = "PER") -> Example:
    text = f"{head} saw {tail} ."
    start = text.index(tail, len(head))
    return Example(text, (0, len(head)), (start, start + len(tail)), 0, kind, kind)


class Unseen(list[str]):
    """A list from which one is taken, and that is never gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all mentions were looked at")


def test_all_other_mentions_of_the_type_are_drawn_and_no_other() -> None:
    swap = EntitySwap([said_of(a, b) for a in NAMES for b in NAMES if a != b])
    for own in (*NAMES, "Zoe"):  # Zoe stands in no training sentence
        found = swap.augment([said_of(own, "Ada")] * 200, np.random.default_rng(0))
        heads = {one.text[slice(*one.head)] for one in found}
        assert heads == {*NAMES, own}
        pairs = [(one.text[slice(*one.head)], one.text[slice(*one.tail)]) for one in found]
        assert (own, "Ada") not in pairs
    assert swap.augment([said_of("Ada", "Ben", "LOC")] * 9, np.random.default_rng(0)) == []
    alone = EntitySwap([said_of("Ada", "Ada")])
    assert alone.augment([said_of("Ada", "Ada")] * 9, np.random.default_rng(0)) == []


@pytest.mark.parametrize("own", [*NAMES, "Zoe"])
def test_a_draw_does_not_go_through_all_mentions(own: str) -> None:
    swap = EntitySwap([said_of(a, b) for a in NAMES for b in NAMES if a != b])
    others = [name for name in swap.pools["PER",] if name != own]
    expected = [others[np.random.default_rng(i).integers(len(others))] for i in range(9)]
    swap.pools = {kind: Unseen(pool) for kind, pool in swap.pools.items()}
    drawn = [swap._other(("PER",), own, np.random.default_rng(i)) for i in range(9)]
    assert drawn == expected
    assert swap.augment([said_of(own, "Ada")], np.random.default_rng(0))
