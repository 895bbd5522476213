"""Changes of a text: mentions keep their words, and nothing unseen stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.cleaning import around_mentions, clean, drop_words

LETTERS = "ab \t\n\u00a0\u200b\ufeff\u0007e\u0301\u0308é中。\u200d"


@st.composite
def marked(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """A text with mentions that begin with a letter and end where no accent follows."""
    names = draw(
        st.lists(st.sampled_from(["Ada", "Zoe\u0308", "New\u00a0 York", "中"]), max_size=4)
    )
    text, spans = draw(st.text(LETTERS, max_size=8)), []
    for name in names:
        spans.append((len(text), len(text) + len(name)))
        text += name + "." + draw(st.text(LETTERS, max_size=8))
    return text, spans


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


@given(marked())
def test_cleaning_keeps_mentions_and_is_done_once(given: tuple[str, list[tuple[int, int]]]) -> None:
    text, spans = given
    found, places = clean(text, spans)
    said = [text[slice(*span)] for span in spans]
    assert [found[slice(*span)] for span in places] == [plain(one) for one in said]
    assert found == " ".join(found.split())
    assert unicodedata.is_normalized("NFC", found)
    assert not any(unicodedata.category(x) in ("Cc", "Cs") for x in found)
    assert not set(found) & set("\u200b\ufeff")
    assert clean(found, places) == (found, places)
    letters = [x for x in plain(text) if x.isalpha()]
    assert [x for x in found if x.isalpha()] == letters


def test_a_mention_loses_white_space_at_its_ends() -> None:
    assert clean("a\t\t b  c", [(0, 4), (3, 8)]) == ("a b c", [(0, 1), (2, 5)])
    assert clean(" \u200b ", [(0, 3)]) == ("", [(0, 0)])


@pytest.mark.parametrize(("text", "spans", "expected", "places"), [
    ("The cat of the house is there.", [(4, 7), (15, 20)], "cat house there.", [(0, 3), (4, 9)]),
    ("Bank of England is the bank.", [(0, 15)], "Bank of England bank.", [(0, 15)]),
    ("THE end", [], "end", []),
    ("another thesis", [], "another thesis", []),
])  # fmt: skip
def test_stop_words_are_dropped_outside_of_mentions(
    text: str, spans: list[tuple[int, int]], expected: str, places: list[tuple[int, int]]
) -> None:
    assert drop_words(text, spans, {"the", "of", "is", "a"}) == (expected, places)


TEXT = "It rained. Ada was born in Bonn. She met Eve in Cork. They left."


@pytest.mark.parametrize(("names", "expected"), [
    (["Ada", "Bonn"], "Ada was born in Bonn."), (["Eve"], "She met Eve in Cork."),
    (["Bonn", "Eve"], "Ada was born in Bonn. She met Eve in Cork."),
    (["Cork", "Ada"], "Ada was born in Bonn. She met Eve in Cork."), ([], TEXT),
    (["rained. Ada"], "It rained. Ada was born in Bonn."),
])  # fmt: skip
def test_a_text_is_cut_to_the_sentences_of_its_mentions(names: list[str], expected: str) -> None:
    spans = [(TEXT.index(name), TEXT.index(name) + len(name)) for name in names]
    found, places = around_mentions(TEXT, spans)
    assert found == expected
    assert [found[slice(*span)] for span in places] == names
