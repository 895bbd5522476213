"""Paths of relations: sparse products are the enumeration of paths whose nodes all differ."""

from __future__ import annotations

import tracemalloc
from itertools import permutations

import numpy as np
import pytest

from relgnn.rules.adjacency import Adjacency
from tests.rules.graphs import random_triples

ENTITIES, RELATIONS = 9, 3


def enumerated(graph: Adjacency, body: tuple[int, ...]) -> np.ndarray:
    """Number of paths [E, E] along the body, node by node."""
    edges = {
        relation: set(zip(*(x.tolist() for x in graph[relation].nonzero()), strict=True))
        for relation in range(2 * RELATIONS)
    }
    found = np.zeros((ENTITIES, ENTITIES), int)
    for nodes in permutations(range(ENTITIES), len(body) + 1):
        steps = zip(nodes[:-1], nodes[1:], body, strict=True)
        found[nodes[0], nodes[-1]] += all((u, v) in edges[r] for u, v, r in steps)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "body",
    [(0,), (4,), (0, 1), (0, 3), (2, 2), (0, 3, 0), (1, 4, 1), (0, 1, 2), (5, 2, 4), (3, 3, 0)],
)  # fmt: skip
def test_pairs_are_the_paths_whose_nodes_differ(body: tuple[int, ...], seed: int) -> None:
    graph = Adjacency(random_triples(ENTITIES, RELATIONS, 50, seed), ENTITIES, RELATIONS)
    rows = np.array([0, 2, 3, 7, 8])
    expected = enumerated(graph, body)
    np.testing.assert_array_equal(graph.pairs(body, rows).toarray(), expected[rows])
    everyone = np.arange(ENTITIES)
    np.testing.assert_array_equal(graph.pairs(graph.reverse(body), everyone).toarray(), expected.T)


def test_loops_and_duplicates_are_left_out() -> None:
    graph = Adjacency(np.array([[0, 0, 1], [0, 0, 1], [2, 0, 2], [1, 1, 0]]), 3, 2)
    assert graph.sizes.tolist() == [1, 1, 1, 1]
    assert graph[2].toarray().tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert graph.starts[0].tolist() == [True, False, False]
    # by relation 0 forward and by 1 backward, and the other way round
    assert graph.every.toarray().tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_links_of_any_relation_take_no_matrix_of_each() -> None:
    triples = random_triples(ENTITIES, RELATIONS, 50, 0)
    graph = Adjacency(triples, ENTITIES, RELATIONS)
    each = sum(graph[r].toarray() for r in range(2 * RELATIONS))
    np.testing.assert_array_equal(graph.every.toarray(), each)
    many = random_triples(5000, 500, 2000, 1)
    tracemalloc.start()
    Adjacency(many, 5000, 500).every  # noqa: B018
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # bytes; of 1,000 matrices the pointers alone are 2e7


def test_functionality_is_one_where_each_has_one() -> None:
    graph = Adjacency(np.array([[0, 0, 3], [1, 0, 3], [2, 0, 4]]), 5, 2)
    np.testing.assert_allclose(graph.functionality, [1, 1, 2 / 3, 1])


def test_a_graph_without_triples_has_no_paths() -> None:
    graph = Adjacency(np.zeros((0, 3), int), 4, 2)
    assert graph.pairs((0, 1, 2), np.arange(4)).nnz == 0
