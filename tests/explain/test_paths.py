"""Paths between two entities: against all simple paths of a small graph, and their rules."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from relgnn.config import MiningConfig
from relgnn.explain.paths import Path, PathFinder
from tests.linkpred.toy import BORN, KNOWS, LIVES, toy_graph

# who was born somewhere lives there, but for two
TOWNS = [20 + person % 5 for person in range(18)]
BIRTHS = [(person, BORN, town) for person, town in enumerate(TOWNS)]
HOMES = [(person, LIVES, town + (person in (3, 7))) for person, town in enumerate(TOWNS)][:-2]
FRIENDS = [(person, KNOWS, person + 1) for person in range(0, 18, 3)]
SETTINGS = MiningConfig(min_support=2)


def finder(learned: list[tuple[int, int, int]] | None = None) -> PathFinder:
    graph = toy_graph(np.array(BIRTHS + HOMES + FRIENDS))
    return PathFinder(graph, np.array(learned or [], dtype=np.int64).reshape(-1, 3), SETTINGS, 0)


def simple_paths(head: int, relation: int, tail: int) -> set[tuple[tuple[int, ...], ...]]:
    """Every simple path of at most three steps, as (nodes, body), by another library."""
    graph = networkx.MultiDiGraph()
    for h, r, t in BIRTHS + HOMES + FRIENDS:
        graph.add_edge(h, t, r)
        graph.add_edge(t, h, r + 3)
    found = networkx.all_simple_edge_paths(graph, head, tail, cutoff=3)
    paths = {
        ((head, *(end for _, end, _ in path)), tuple(relation for *_, relation in path))
        for path in found
    }
    return {one for one in paths if one[1] != (relation,)}


@pytest.mark.parametrize(
    ("head", "relation", "tail"), [(0, LIVES, 20), (17, LIVES, 22), (3, KNOWS, 4), (3, BORN, 24)]
)
def test_one_path_of_every_body_and_how_many_there_are(head: int, relation: int, tail: int) -> None:
    expected = simple_paths(head, relation, tail)
    found = finder().paths(head, relation, tail, limit=1000)
    assert expected and {(path.nodes, path.body) for path in found} <= expected
    often = {body: sum(body == one for _, one in expected) for _, body in expected}
    assert {path.body: path.count for path in found} == often


def test_a_rule_comes_first_with_its_support() -> None:
    first, *others = finder().paths(17, LIVES, 22, limit=10)
    assert (first.nodes, first.body) == ((17, 22), (BORN,))
    assert first.rule is not None
    assert (first.rule.head, first.rule.support) == (LIVES, 14)
    assert 0.5 < first.rule.confidence < 14 / 16
    confidences = [path.rule.confidence if path.rule else 0 for path in [first, *others]]
    assert confidences == sorted(confidences, reverse=True)
    assert len(finder().paths(17, LIVES, 22, limit=1)) == 1


def test_the_triple_itself_is_no_reason() -> None:
    assert (BORN,) not in {path.body for path in finder().paths(0, BORN, 20, limit=100)}
    assert (LIVES,) in {path.body for path in finder().paths(0, BORN, 20, limit=100)}


def test_what_was_learned_makes_paths_and_no_rules() -> None:
    plain, more = finder(), finder([(19, BORN, 20), (19, 3, 25)])
    assert plain.paths(19, LIVES, 20) == []
    [direct, *_] = more.paths(19, LIVES, 20)
    assert direct.body == (BORN,) and direct.rule is not None
    assert direct.rule == plain.paths(17, LIVES, 22)[0].rule
    # an untyped pair is no step
    assert more.paths(19, LIVES, 25) == []


def test_a_path_in_words() -> None:
    found = Path((0, 20, 5), (BORN, LIVES + 3), None)
    assert finder().line(found).path == "Abra –born in→ Bremvik ←lives in– Fyodor"


def test_a_rule_in_ids_and_in_names() -> None:
    found = finder().paths(17, LIVES, 22)[0]
    plain, named = finder().line(found), finder().line(found, named=True)
    assert plain.rule == "lives(x, y) <- born(x, y)"
    assert named.rule == "lives in(x, y) <- born in(x, y)"
    assert found.rule is not None and plain.count == found.count
    assert (named.confidence, named.support) == (found.rule.confidence, found.rule.support)


def test_nothing_links_an_entity_to_itself() -> None:
    assert finder().paths(0, BORN, 0) == []
