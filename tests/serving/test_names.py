"""Search over names: the whole name first, then its beginning, then anything that holds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relgnn.serving.names import NameSearch

IDS = ("Q1", "Q2", "Q3", "Q12", "Q5")
NAMES = ("Bonn am Rhein", "bonn", "Old Bonn", "", "Two\nlines")


def test_the_best_come_first() -> None:
    search = NameSearch(IDS, NAMES)
    assert search.find("BONN", 10) == [1, 0, 2]
    assert search.find("bonn", 2) == [1, 0]
    assert search.find("q1", 10) == [0, 3]
    assert search.find("lines", 10) == [4] and search.find("two\nl", 10) == [4]
    assert search.find("zzz", 10) == [] and search.find("Q5", 10) == [4]


texts = st.lists(st.text("ab\nß ", max_size=4), min_size=1, max_size=8)


@given(texts, st.text("abß ", min_size=1, max_size=3), st.integers(1, 9))
def test_it_finds_what_a_look_at_every_name_finds(names: list[str], part: str, limit: int) -> None:
    ids = [f"{i}x" for i in range(len(names))]
    found = NameSearch(ids, names).find(part, limit)
    folded = [name.casefold().replace("\n", " ") for name in names]
    inside = [i for i, name in enumerate(folded) if part.casefold() in name]
    assert set(found) <= set(inside) and len(found) == min(limit, len(inside))

    def rank(i: int) -> int:
        return 2 - folded[i].startswith(part.casefold()) - (folded[i] == part.casefold())

    assert [rank(i) for i in found] == sorted(rank(i) for i in inside)[: len(found)]
