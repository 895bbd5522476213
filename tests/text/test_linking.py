"""Linking: each way to name an entity, what keeps a word from linking, and no favour to ids."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.text.linking import (
    EXACT,
    PART,
    STEM,
    WORD,
    MentionLinker,
    plain_name,
    related_words,
    stem,
)

NAMES = (
    "France", "Angela Merkel", "painter", "Emma Stone", "Bonn", "Selena (film)", "Mont Blanc", "",
)  # fmt: skip


def found(linker: MentionLinker, sentence: str) -> set[tuple[str, int, int]]:
    return {(sentence[m.start : m.end], m.entity, m.kind) for m in linker.link(sentence)}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Then Angela Merkel spoke.", {("Angela Merkel", 1, EXACT)}),
        ("Then Merkel's turn came.", {("Merkel", 1, PART)}),
        ("She took up painting.", {("painting", 2, STEM)}),
        ("A French novel.", {("French", 0, STEM)}),
        ("He saw Selena twice.", {("Selena", 5, EXACT)}),
        ("In Bonn.", {("Bonn", 4, EXACT)}),
        ("Nothing here.", set()),
        ("", set()),
    ],
)
def test_each_kind_of_mention(sentence: str, expected: set[tuple[str, int, int]]) -> None:
    assert found(MentionLinker(NAMES), sentence) == expected


def test_a_word_of_a_proper_name_needs_its_capital() -> None:
    linker = MentionLinker(NAMES)
    assert not found(linker, "They built a stone wall.")
    assert found(linker, "Then Stone acted.") == {("Stone", 3, PART)}
    assert found(linker, "Painter and model.") == {("Painter", 2, EXACT)}


def test_an_alias_links_like_a_name() -> None:
    linker = MentionLinker(["Germany"], [["Federal Republic"]])
    assert found(linker, "The Federal Republic grew.") == {("Federal Republic", 0, EXACT)}


def test_a_word_of_too_many_names_links_to_none_by_part() -> None:
    names = [f"Smith {word}" for word in ("Adams", "Baker", "Carter")]
    assert {m.entity for m in MentionLinker(names, limit=3).link("Smith left.")} == {0, 1, 2}
    assert MentionLinker(names, limit=2).link("Smith left.") == []


def test_the_surest_mention_of_an_entity_is_kept() -> None:
    mentions = MentionLinker(NAMES).link("Merkel, that is Angela Merkel, spoke.")
    assert [(m.start, m.kind) for m in mentions] == [(16, EXACT)]


@given(st.permutations(range(len(NAMES))))
def test_permuting_entities_permutes_links(order: list[int]) -> None:
    sentence = "Merkel met Emma Stone, a French painter, near Mont Blanc and in Bonn."
    straight = found(MentionLinker(NAMES), sentence)
    shuffled = found(MentionLinker([NAMES[i] for i in order]), sentence)
    assert {(text, order[entity], kind) for text, entity, kind in shuffled} == straight
    assert len(straight) == 6


@given(st.text(max_size=40))
def test_any_text_links_within_its_own_bounds(sentence: str) -> None:
    for mention in MentionLinker(NAMES).link(sentence):
        assert 0 <= mention.start < mention.end <= len(sentence)
        assert 0 <= mention.entity < len(NAMES)


def test_stems_meet_and_keep_four_letters() -> None:
    assert stem("painter") == stem("Painting") == "paint"
    assert stem("Italian") == stem("Italy") == "ital"
    assert stem("opera") == "oper"
    assert all(len(stem(word)) >= min(4, len(word)) for word in ("ions", "as", "ants", "actions"))


def test_plain_name_drops_only_brackets_at_the_end() -> None:
    assert [plain_name(n) for n in ("Selena (film)", "(film)", "A (b) c")] == [
        "Selena", "(film)", "A (b) c",
    ]  # fmt: skip


def test_entities_with_one_name_all_link() -> None:
    linker = MentionLinker(["Paris", "Paris"])
    assert np.array([m.entity for m in linker.link("Paris.")]).tolist() == [0, 1]


WORDS = ("New", "York", "City", "the", "of", "Bonn", "new", "Yorks", "St.", "York's")
phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


def normal(text: str) -> list[str]:
    return [re.sub(r"['’]s$", "", m.group().rstrip(".")).lower() for m in WORD.finditer(text)]


@given(st.lists(st.tuples(phrases, st.lists(phrases, max_size=2)), min_size=1, max_size=6), phrases)
def test_whole_names_are_those_of_the_naive_search(
    entities: list[tuple[str, list[str]]], sentence: str
) -> None:
    """Every run of words is compared with every name and alias."""
    names, aliases = zip(*entities, strict=True)
    found = {m.entity: m for m in MentionLinker(names, aliases).link(sentence) if m.kind == EXACT}
    words, places = normal(sentence), [m.start() for m in WORD.finditer(sentence)]
    for entity, (name, others) in enumerate(entities):
        starts = [
            i
            for form in (name, *others)
            for i in range(len(words))
            if words[i : i + len(normal(form))] == normal(form)
        ]
        assert (entity in found) == bool(starts)
        if starts:
            assert found[entity].start == places[min(starts)]


def test_an_alias_is_a_part_and_a_stem_too() -> None:
    linker = MentionLinker(["Germany"], [["Federal Bundesrepublik"]])
    assert found(linker, "The Bundesrepublik grew.") == {("Bundesrepublik", 0, PART)}


def test_every_related_word_reaches_a_name_of_its_kind() -> None:
    for word, names in related_words().items():
        linker = MentionLinker(names)
        assert set(linker.related[word]) == set(range(len(names))), word
