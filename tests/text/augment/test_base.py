from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.relations import Example
from relgnn.text.augment.base import content_words, edited, relocated

TEXT = "In 1815 Ada Lovelace, a painter's well-known girl, was born in London."
ONE = Example(TEXT, (8, 20), (63, 69), 0)


def test_words_of_content_are_whole_and_outside_of_mentions() -> None:
    assert [TEXT[a:b] for a, b in content_words(ONE)] == ["girl", "born"]
    assert content_words(Example("她 出生 在 巴黎", (0, 1), (7, 9), 0)) == []


def test_edits_move_the_mentions() -> None:
    new = edited(
        ONE, [(8, 20, "Al"), (0, 0, "So, "), (20, 20, " Jr"), (63, 63, "far "), (51, 54, "is")]
    )
    assert new.text == "So, In 1815 Al Jr, a painter's well-known girl, is born in far London."
    assert new.text[slice(*new.head)] == "Al"
    assert new.text[slice(*new.tail)] == "London"


@given(st.data())
def test_edits_outside_of_mentions_leave_them(data: st.DataObject) -> None:
    places = [i for i in range(len(TEXT) + 1)
              if not any(a < i < b for a, b in (ONE.head, ONE.tail))]  # fmt: skip
    cuts = sorted(data.draw(st.sets(st.sampled_from(places), max_size=4)))
    edits = []
    for place in cuts:
        end = place + data.draw(st.integers(0, 1))
        inside = any(a <= place < b for a, b in (ONE.head, ONE.tail))
        edits.append(
            (place, place if inside else min(end, len(TEXT)), data.draw(st.text(max_size=3)))
        )
    new = edited(ONE, edits)
    assert new.text[slice(*new.head)] == "Ada Lovelace"
    assert new.text[slice(*new.tail)] == "London"
    assert len(new.text) == len(TEXT) + sum(len(text) - (b - a) for a, b, text in edits)


def test_another_text_must_name_each_mention_once() -> None:
    found = relocated(ONE, "London is where Ada Lovelace was born.")
    assert found is not None
    assert found.text[slice(*found.head)] == "Ada Lovelace"
    assert found.text[slice(*found.tail)] == "London"
    for text in ("Ada was born in London.", "Ada Lovelace of London, London.",
                 "Ada Lovelace, a Londoner.", ""):  # fmt: skip
        assert relocated(ONE, text) is None
    nested = Example("Bank of London", (0, 14), (8, 14), 0)
    assert relocated(nested, "the Bank of London") is None
    chinese = Example("她生在巴黎", (0, 1), (3, 5), 0)
    assert relocated(chinese, "巴黎是她的家") == Example("巴黎是她的家", (3, 4), (0, 2), 0)
