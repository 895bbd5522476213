"""Sentence boundaries."""

from __future__ import annotations

from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.sentences import first_sentence, split_sentences

# "¦" marks where a sentence ends.
SPLITS = [
    "Ann left.¦ Bob stayed!¦ Did Cy?¦ Yes.",
    "He read D. H. Lawrence and J. R. R. Tolkien.¦ She did not.",
    "St. Louis is in the U.S. Midwest.¦ It has an arch.",
    "He moved to the U.S.¦ He stayed there.",
    "He died c. 1500 in Ghent, e.g. by sword.¦ Nobody knows.",
    "Dr. Dre met Mr. Smith vs. Mrs. Jones.¦ Prof. Lee won.",
    "It reached No. 1 on the chart.¦ No. 5 was hers.",
    "The answer was no.¦ He left.",
    "Warner Bros. Records signed Martin King Jr. in 1990.¦ He sang.",
    "They sold tea, etc.¦ In 1990 they closed.",
    "She was born on Jan. 5 in Washington, D. C.¦ In May she left.",
    "He wrote Janick.¦In 1992 he left.",
    "Algeria is in Africa.¦Africa hosts many.",
    "It is part of NATO.¦Belgium is a kingdom.",
    "It ended in 2013.¦DeLillo wrote on.",
    "Is it a dog?¦A dog barks.",
    "See www.example.com or Amazon.com and J.Hud, Ph.D.S.",
    "The rate is 2.5 percent of 3.14 points.",
    'He said "Stop."¦ She went on.',
    "(It rained.)¦ Then it stopped.",
    "第一句。¦第二句！¦完",
    "A heading without a stop¦\n\nThen a paragraph\nover two lines.",
    "Wait... what?¦ Nothing.",
    "1. FC Köln is a club.",
]


@pytest.mark.parametrize("marked", SPLITS)
def test_splits(marked: str) -> None:
    text = marked.replace("¦", "")
    found = [text[start:end] for start, end in split_sentences(text)]
    assert found == [sentence.strip() for sentence in marked.split("¦")]


def test_first_sentence() -> None:
    assert first_sentence("  Ann left. Bob stayed.") == "Ann left."
    assert first_sentence(" \n ") == ""


@given(st.text(alphabet=st.sampled_from("aB1. !?\n\"()'é。U\tSt"), max_size=80))
def test_every_character_lies_in_one_span(text: str) -> None:
    spans = split_sentences(text)
    covered = [place for start, end in spans for place in range(start, end)]
    assert covered == sorted(set(covered))
    left = set(range(len(text))) - set(covered)
    assert all(text[place].isspace() for place in left)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


class Copied(str):
    """A text that counts the characters which are copied out of it."""

    copied: int = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        found = super().__getitem__(key)
        self.copied += len(found)
        return found


@pytest.mark.parametrize("piece", ["He was 12. Then ", "1. FC Bonn. ", "Dr. A ", "a.B", '? "'])
def test_twice_the_text_is_twice_the_work(piece: str) -> None:
    short, long = (Copied(piece * count) for count in (200, 400))
    for text in (short, long):
        split_sentences(text)
    assert 0 < long.copied <= 2.1 * short.copied
