"""Who is in which group: by what the data know, and by pronouns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relgnn.audit.groups import PRONOUN, grouping, usual_groupings
from relgnn.data import KnowledgeGraph, Text
from relgnn.errors import InputError
from relgnn.loop.opened import OpenRun


@pytest.fixture
def graph() -> KnowledgeGraph:
    people = "ann bob cleo dora".split()
    pages = ("She sang.", "He drew. His son wrote.", "He and she met.", "")
    return KnowledgeGraph(
        "toy", (*people, "ulm", "bern"), ("P27", "job"), ("",) * 6,
        ("a person", "a person", "a person", "actress", "a town", "a town"),
        ("country of citizenship", ""), ("", ""),
        train=[[0, 0, 4], [1, 1, 5]], valid=[[1, 0, 4]], test=[[2, 0, 5]], hidden=[[0, 0, 5]],
        texts=tuple(Text(people[i], page, i) for i, page in enumerate(pages)),
    )  # fmt: skip


def members(found: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: one.tolist() for name, one in found.items()}


def test_groups_by_relation_are_of_all_that_is_known(graph: KnowledgeGraph) -> None:
    for written in ("P27", "country of citizenship"):
        found = grouping(graph, written)
        assert (found.name, found.title, found.relation) == ("P27", "country of citizenship", 0)
        assert members(found.members) == {"ulm": [0, 1], "bern": [0, 2]}
        assert found.everybody.tolist() == [0, 1, 2]


def test_groups_by_pronoun_leave_out_whom_none_fits(graph: KnowledgeGraph) -> None:
    found = grouping(graph, PRONOUN)
    assert members(found.members) == {"he": [1], "she": [0, 3]} and found.relation is None


def test_groups_that_share_a_name_stay_apart(graph: KnowledgeGraph) -> None:
    names = ("", "", "", "", "Neustadt", "Neustadt")
    found = grouping(replace(graph, entity_names=names), "P27")
    assert members(found.members) == {"Neustadt (ulm)": [0, 1], "Neustadt (bern)": [0, 2]}
    assert found.everybody.tolist() == [0, 1, 2]


def test_what_is_usual_is_what_the_data_have(graph: KnowledgeGraph, opened: OpenRun) -> None:
    assert [one.name for one in usual_groupings(graph)] == ["P27", PRONOUN]
    silent = replace(graph, texts=(), entity_descriptions=("",) * 6)
    assert [one.name for one in usual_groupings(silent)] == ["P27"]
    listed = replace(
        graph, relations=("P27", "job", "P21"), relation_names=("", "", ""),
        relation_descriptions=("", "", ""),
    )  # fmt: skip
    assert [one.name for one in usual_groupings(listed)] == ["P27", PRONOUN]
    with pytest.raises(InputError, match="--group P21: nobody in toy"):
        grouping(listed, "P21")
    with pytest.raises(InputError, match="neither gender, nor citizenship"):
        usual_groupings(opened.graph)
    with pytest.raises(InputError, match="--group pronoun: nobody in data"):
        grouping(opened.graph, PRONOUN)
    with pytest.raises(InputError, match="'P21' is not in toy"):
        grouping(graph, "P21")
