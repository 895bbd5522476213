"""KnowledgeGraph: immutable, cut to fractions, checksummed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn.data import KnowledgeGraph, Text
from relgnn.data.graph import first_occurrence, is_in, sentences_of
from relgnn.errors import InputError


def make_graph(**changes: Any) -> KnowledgeGraph:
    fields: dict[str, Any] = {
        "name": "tiny",
        "entities": ("a", "b", "c"),
        "relations": ("likes", "knows"),
        "entity_names": ("Ann", "", "Cy"),
        "entity_descriptions": ("a painter.", "a dog", ""),
        "relation_names": ("likes", "knows"),
        "relation_descriptions": ("", ""),
        "train": [[0, 0, 1], [1, 0, 2], [2, 1, 0]],
        "valid": [[0, 0, 2]],
        "test": [[1, 1, 0]],
        "texts": (Text("t", "Ann paints. Cy is a town.", 0), Text("u", "No page.", None)),
    }
    return KnowledgeGraph(**{**fields, **changes})


def random_graph(rows: int, seed: int) -> KnowledgeGraph:
    generator = np.random.default_rng(seed)
    triples = generator.integers(0, [50, 4, 50], size=(rows + 20, 3))
    return make_graph(
        entities=tuple(map(str, range(50))),
        relations=tuple("pqrs"),
        entity_names=("",) * 50,
        entity_descriptions=("",) * 50,
        relation_names=("",) * 4,
        relation_descriptions=("",) * 4,
        train=triples[:rows],
        valid=triples[rows : rows + 10],
        test=triples[rows + 10 :],
        texts=(),
    )


def test_nothing_can_be_changed() -> None:
    graph = make_graph(
        strata={"train": [0, 1, 2]}, negatives={"test": [[0, 0, 0]]}, fractions={"10/0": {}}
    )
    with pytest.raises(FrozenInstanceError):
        graph.name = "other"  # type: ignore[misc]
    for array in (graph.train, graph.hidden, graph.strata["train"], graph.negatives["test"]):  # type: ignore[index]
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(TypeError):
        graph.negatives["valid"] = graph.test  # type: ignore[index]


def test_the_callers_array_is_not_shared() -> None:
    mine = np.array([[0, 0, 1]])
    graph = make_graph(train=mine)
    mine[0, 0] = 2
    assert graph.train.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("row", [[3, 0, 0], [0, 2, 0], [0, 0, -1]])
def test_ids_have_to_be_in_range(row: list[int]) -> None:
    with pytest.raises(ValueError, match="outside"):
        make_graph(test=[row])


def test_node_texts_join_name_description_and_first_sentence() -> None:
    assert make_graph().node_texts() == ["Ann. a painter. Ann paints.", "a dog.", "Cy."]


def test_sentences_know_their_text_and_place() -> None:
    graph = make_graph()
    sentences = graph.sentences()
    assert [(s.id, s.text_id, s.entity, s.text) for s in sentences] == [
        (0, "t", 0, "Ann paints."),
        (1, "t", 0, "Cy is a town."),
        (2, "u", None, "No page."),
    ]
    whole = {text.id: text.text for text in graph.texts}
    assert all(whole[s.text_id][s.start : s.end] == s.text for s in sentences)


def test_filters_hold_what_is_known_at_each_split() -> None:
    graph = make_graph(hidden=[[2, 0, 2]])
    assert len(graph.filter_triples("valid")) == 4
    assert graph.filter_triples("test").tolist()[-2:] == [[2, 0, 2], [1, 1, 0]]
    with pytest.raises(ValueError, match="valid and test"):
        graph.filter_triples("train")


def test_checksum_depends_on_content_and_not_on_the_name() -> None:
    graph = make_graph()
    assert graph.checksum == replace(graph, name="other").checksum
    others = [
        make_graph(test=[[1, 1, 1]]),
        make_graph(entity_names=("Anna", "", "Cy")),
        make_graph(texts=()),
        make_graph(types=(("x",), (), ())),
        make_graph(types=((), ("x",), ())),
        make_graph(times={"train": ["1", "2", "3"]}),
        make_graph(strata={"train": [0, 1, 2]}),
    ]
    assert len({graph.checksum, *(other.checksum for other in others)}) == 8


@settings(max_examples=25, deadline=None)
@given(
    fraction=st.sampled_from([0.03, 0.1, 0.25, 0.5, 0.9]),
    seed=st.integers(0, 5),
    rows=st.integers(5, 200),
)
def test_drawn_fractions(fraction: float, seed: int, rows: int) -> None:
    graph = random_graph(rows, seed)
    cut = graph.at_fraction(fraction, seed)
    assert set(cut.train[:, 1]) == set(graph.train[:, 1])
    assert abs(len(cut.train) - fraction * rows) <= 4
    rejoined = np.concatenate([cut.train, cut.valid, cut.hidden])
    whole = np.concatenate([graph.train, graph.valid])
    assert sorted(rejoined.tolist()) == sorted(whole.tolist())
    assert cut.filter_triples("test").shape == graph.filter_triples("test").shape
    assert (cut.test == graph.test).all()
    again = graph.at_fraction(fraction, seed)
    assert again.checksum == cut.checksum


def test_a_smaller_fraction_lies_inside_a_larger_one() -> None:
    graph = random_graph(300, 0)
    small, large = graph.at_fraction(0.1, 3), graph.at_fraction(0.3, 3)
    assert {tuple(row) for row in small.train} <= {tuple(row) for row in large.train}
    assert small.checksum != graph.at_fraction(0.1, 4).checksum


def test_its_picture_is_short() -> None:
    assert repr(make_graph()) == "KnowledgeGraph('tiny', 3/1/1 triples, 3 entities)"


def test_all_triples_is_the_graph_itself() -> None:
    graph = make_graph()
    assert graph.at_fraction(1, 0) is graph


def test_frozen_fractions_carry_strata_and_times_along() -> None:
    graph = make_graph(
        strata={"train": [0, 1, 2], "valid": [1], "test": [2], "hidden": []},
        times={"train": ["1", "2", "3"], "valid": ["4"], "test": ["5"], "hidden": []},
        fractions={"50/0": {"train": [2, 0], "valid": []}},
    )
    cut = graph.at_fraction(0.5, 0)
    assert cut.train.tolist() == [[0, 0, 1], [2, 1, 0]]
    assert cut.hidden.tolist() == [[1, 0, 2], [0, 0, 2]]
    assert cut.strata is not None and cut.times is not None
    assert {split: codes.tolist() for split, codes in cut.strata.items()} == {
        "train": [0, 2],
        "valid": [],
        "test": [2],
        "hidden": [1, 1],
    }
    assert cut.times["hidden"].tolist() == ["2", "4"]
    with pytest.raises(InputError, match="already cut"):
        cut.at_fraction(0.5, 0)


@pytest.mark.parametrize(
    ("fraction", "seed", "message"),
    [
        (0, 0, "above 0 and at most 1"),
        (1.5, 0, "above 0 and at most 1"),
        (0.2, 0, "no frozen fraction 0.2 .* data.fraction to one of 0.5 or 1"),
        (0.5, 7, "split_seed 7.* data.split_seed to one of 0"),
    ],
)
def test_impossible_fractions(fraction: float, seed: int, message: str) -> None:
    graph = make_graph(fractions={"50/0": {"train": [0], "valid": []}})
    with pytest.raises(InputError, match=message) as error:
        graph.at_fraction(fraction, seed)
    assert "\n" not in str(error.value)


def test_first_occurrence_tells_times_apart() -> None:
    rows = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert first_occurrence(rows).tolist() == [0, 1, 0, 0]
    assert first_occurrence(rows, np.array(["1", "1", "2", "1"])).tolist() == [0, 1, 2, 0]


def test_a_line_break_between_sentences_is_a_paragraph_break() -> None:
    text = Text("t", "\n One. Two\nlines here. \nThree. Four.\n\n\nFive.", None)
    found = list(sentences_of([text, Text("u", "Six.\nSeven.", 1)]))
    assert [(s.id, s.paragraph) for s in found] == list(enumerate([0, 0, 1, 1, 2, 0, 1]))
    assert [s.text for s in found][1] == "Two\nlines here."
    assert all(s.text == (text.text)[s.start : s.end] for s in found[:5])


def test_sentences_are_cut_only_when_asked_for() -> None:
    read = []

    def texts() -> Iterator[Text]:
        for number in range(10**9):
            read.append(number)
            yield Text(str(number), "One. Two.", None)

    sentences = sentences_of(texts())
    assert [next(sentences).text_id for _ in range(3)] == ["0", "0", "1"]
    assert read == [0, 1]


def test_labels_are_names_or_else_ids() -> None:
    graph = make_graph()
    assert [graph.entity_label(i) for i in range(3)] == ["Ann", "b", "Cy"]
    assert make_graph(relation_names=("likes it", "")).relation_label(1) == "knows"
    assert graph.ids(graph.test[0]) == ("b", "knows", "a")


def test_triples_are_found_among_others_whole() -> None:
    triples = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3]])
    assert is_in(triples, triples[[2, 0]]).tolist() == [True, False, True]
    assert is_in(triples, triples[:0]).tolist() == [False] * 3
    assert is_in(triples[:0], triples).tolist() == []


def test_checked_triples_are_the_true_ones_and_then_the_false() -> None:
    graph = make_graph(negatives={"test": [[0, 1, 0], [2, 0, 0]]})
    triples, labels = graph.labelled("test")
    assert triples.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]
    assert labels.tolist() == [True, False, False]
    with pytest.raises(InputError, match=r"tiny has no checked false .* valid_negatives\.tsv"):
        graph.labelled("valid")
