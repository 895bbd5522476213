"""Where a text names an entity."""

from __future__ import annotations

import pytest

from relgnn.data.mentions import find_mention
from relgnn.errors import InputError


@pytest.mark.parametrize(("text", "name", "taken", "span"), [
    ("Ada was born in London.", "London", [], (16, 22)),
    ("Adair met Ada.", "Ada", [], (10, 13)),
    ("Adair was here.", "Ada", [], (0, 3)),
    ("Zoë met Zo.", "Zo", [], (8, 10)),
    ("东方航空在上海", "上海", [], (5, 7)),
    ("Lovelace met Lovelace.", "Lovelace", [(0, 8)], (13, 21)),
    ("Ada Lovelace met Lovelace.", "Lovelace", [(0, 12)], (17, 25)),
    ("Ada Lovelace was here.", "Lovelace", [(0, 12)], (4, 12)),
    ("a.b (c)", "(c)", [], (4, 7)),
    ("Ada met Eve.", " Eve ", [], (8, 11)),
])  # fmt: skip
def test_the_first_fitting_place_is_taken(
    text: str, name: str, taken: list[tuple[int, int]], span: tuple[int, int]
) -> None:
    assert find_mention(text, name, "head", taken) == span


@pytest.mark.parametrize(("name", "taken", "told"), [
    ("Eve", [], "does not name the tail 'Eve'; write it as the text does"),
    ("ada", [], "does not name the tail 'ada'"),
    ("Ada", [(0, 3)], "does not name the tail 'Ada' a second time"),
    (" ", [], "the tail is empty"),
])  # fmt: skip
def test_what_is_not_named(name: str, taken: list[tuple[int, int]], told: str) -> None:
    with pytest.raises(InputError, match=told):
        find_mention("Ada was born.", name, "tail", taken)
