"""Graphs that tests of rules share."""

from __future__ import annotations

import numpy as np

from relgnn.rules.adjacency import Adjacency

BORN, LIVES, WITHIN, SPOUSE = range(4)
NAMES = ("born in", "lives in", "within", "spouse")


def random_triples(entities: int, relations: int, count: int, seed: int) -> np.ndarray:
    """`count` triples, loops and duplicates among them."""
    generator = np.random.default_rng(seed)
    return np.column_stack(
        [generator.integers(0, size, count) for size in (entities, relations, entities)]
    )


def families(couples: int = 20) -> Adjacency:
    """Couples who live where one of them was born: lives(x, y) ← spouse(x, z), born(z, y).

    Entities 2 i and 2 i + 1 are a couple; the last ten are places. The marriage is told from the
    first to the second only; of every fifth couple it is not known where the first one lives.
    """
    triples, first = [], 2 * couples
    for i in range(couples):
        home = first + i % 10
        triples += [[2 * i, SPOUSE, 2 * i + 1], [2 * i + 1, BORN, home]]
        if i % 5:
            triples.append([2 * i, LIVES, home])
    triples += [[first + i, WITHIN, first + (i + 1) % 10] for i in range(9)]
    return Adjacency(np.array(triples), first + 10, len(NAMES))
