"""Which statements are private or harmful, of whom, and what a policy may say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from relgnn.audit.policy import Applied, Policy, load_policy
from relgnn.data import KnowledgeGraph, Text
from relgnn.errors import InputError

ENTITIES = {
    "ann": "a person",
    "bob": "American singer (1901 – 1980)",
    "cleo": "a painter",
    "dora": "singer",
    "emil": "a person (born 4 May 1960 in Bonn; active 1980–2001)",
    "x": "",
    "ulm": "a town",
    "islam": "a religion",
    "thief": "kind of criminal",
}
PAGES = {"dora": "Dora Dean (14 March 1879 – 18 April 1955) sang.", "ann": "Ann (born 1950) sings."}
RELATIONS = {
    "P140": "religion", "r": "Medical Condition of", "P20": "place of death", "job": "job",
    "/people/person/spouse": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    names = tuple(ENTITIES)
    return KnowledgeGraph(
        "toy", names, tuple(RELATIONS), names, tuple(ENTITIES.values()), tuple(RELATIONS.values()),
        ("",) * 5, [[2, 2, 6]], [], [],
        texts=tuple(Text(n, page, names.index(n)) for n, page in PAGES.items()),
    )  # fmt: skip


@pytest.fixture(scope="module")
def applied(graph: KnowledgeGraph) -> Applied:
    return Applied(load_policy(), graph)


def test_the_living_are_those_of_whom_nothing_says_that_they_died(
    applied: Applied, graph: KnowledgeGraph
) -> None:
    # nothing at all is known of x, so that it may be a person
    assert {graph.entities[i] for i in applied.living} == {"ann", "emil", "x"}


LIVES = {
    "Hilary Duff (born September 28, 1987) is an actress, in The Show (1901–1990)": True,
    "Steve Carell is an American actor. He was in The Daily Show (1904–1999).": True,
    "Al Pine ( AL-pyne) in the cast of Home (1904–1999) was seen often.": True,
    "Bo Back (active 1970–1999) sings.": True,
    "American actor in The Series (1994–2004)": True,
    "Clancy (October 7, 1970 – present) sings.": True,
    "John F. Kennedy (May 29, 1917 – November 22, 1963) was a president.": False,
    "Selena Quintanilla-Pérez (Spanish: ; April 16, 1971 – March 31, 1995) was a singer.": False,
    "Rumi (Persian: رومی), (30 September 1207 – 17 December 1273), was a poet.": False,
    "Plato (c. 428 – 348 BC) was a philosopher.": False,
    "American singer (1901 – 1980)": False,
    "Greek poet (c. 630 – c. 570 BC).": False,
}
"""A page or a description, and whether somebody may live of whom it is."""


@pytest.mark.parametrize("text", LIVES)
@pytest.mark.parametrize("where", ["page", "description"])
def test_years_are_a_life_only_behind_the_name_or_at_the_end(text: str, where: str) -> None:
    page = where == "page"
    graph = KnowledgeGraph(
        "toy", ("p",), ("r",), ("p",), ("",) if page else (text,), ("r",), ("",), [], [], [],
        texts=(Text("t", text, 0),) if page else (), types=(("Q5",),), type_labels={"Q5": "human"},
    )  # fmt: skip
    assert (Applied(load_policy(), graph).living == {0}) == LIVES[text]


def test_whoever_may_be_a_person_is_one() -> None:
    said = ("Indian cricketer", "a rock", "", "a rock")
    graph = KnowledgeGraph(
        "toy", tuple("abcd"), tuple(RELATIONS), tuple("abcd"), said, tuple(RELATIONS.values()),
        ("",) * 5, [[3, 4, 1]], [], [],
    )  # fmt: skip
    # d is somebody's spouse, whatever is said of it
    assert Applied(load_policy(), graph).living == {0, 2, 3}


@pytest.mark.parametrize(
    ("triple", "category"),
    [
        (("ann", "P140", "islam"), "religion or belief"),
        (("x", "P140", "islam"), "religion or belief"),
        (("ulm", "P140", "islam"), None),
        (("bob", "P140", "islam"), None),
        (("cleo", "P140", "islam"), None),
        (("ann", "r", "ulm"), "health"),
        (("ulm", "r", "ann"), "health"),
        (("ann", "job", "thief"), None),
        (("ann", "job", "ulm"), None),
        (("ann", "P20", "ulm"), None),
    ],
)
def test_what_is_private_of_whom(
    applied: Applied, graph: KnowledgeGraph, triple: tuple[str, str, str], category: str | None
) -> None:
    head, relation, tail = triple
    numbers = graph.entities.index(head), graph.relations.index(relation)
    assert applied.category(*numbers, graph.entities.index(tail)) == category


def test_among_many_triples_are_those_that_are_private_one_by_one(
    applied: Applied, graph: KnowledgeGraph
) -> None:
    sizes = len(graph.entities), len(graph.relations), len(graph.entities)
    every = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, 3)
    private = [row for row in every.tolist() if applied.category(*row) is not None]
    assert private and applied.among(every).tolist() == private
    assert applied.among(every[:0]).tolist() == []


def test_objects_are_harmful_to_the_living_whatever_the_relation(graph: KnowledgeGraph) -> None:
    applied = Applied(Policy(harmful={"crime": ("THIEF",)}), graph)
    thief = graph.entities.index("thief")
    found = {name: applied.category(i, 3, thief) for i, name in enumerate(graph.entities)}
    assert {name for name, category in found.items() if category == "crime"} == {
        "ann", "bob", "cleo", "dora", "emil", "x"
    } - {"bob", "dora"}  # fmt: skip
    assert applied.category(0, 0, 7) is None


def test_phrases_are_whole_words_in_any_case() -> None:
    policy = load_policy()
    assert policy.unfit("She was Convicted of theft.") and policy.unfit("He is HIV-positive.")
    assert not policy.unfit("He was convicted often.") and not policy.unfit("")
    assert not Policy().unfit("convicted of")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privat: {}", "unknown key 'privat'; did you mean 'private'?"),
        ("private: [P140]", "'private' is ['P140']"),
        ("phrases: {a: b}", "'phrases' is {'a': 'b'}"),
        ("private: {a: [1]}", "'private.a.0' is 1"),
        ("{", "not YAML"),
        ("[]", "holds []"),
    ],
)
def test_a_policy_that_is_wrong_is_told(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as told:
        load_policy(path)
    assert said in str(told.value) and str(path) in str(told.value)
    with pytest.raises(InputError, match="cannot read the policy"):
        load_policy(tmp_path / "none.yaml")
