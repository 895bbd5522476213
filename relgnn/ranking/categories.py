"""Relations by how many heads and tails go together: 1-1, 1-N, N-1, N-N."""

from __future__ import annotations

import numpy as np

CATEGORIES = ("1-1", "1-N", "N-1", "N-N")
"""Heads, then tails; position = the code that `relation_categories` gives."""

MANY = 1.5


def relation_categories(triples: np.ndarray, num_relations: int) -> np.ndarray:
    """The category of each relation: N tails where a (head, relation) has 1.5 or more on average.

    Likewise N heads, over the (relation, tail) that occur. Bordes et al., Translating Embeddings
    for Modeling Multi-relational Data, NIPS 2013.

    Args:
        triples: int64 [M, 3], of the training split; a triple counts once.
        num_relations: R.

    Returns:
        int8 [R], positions in `CATEGORIES`; -1 for a relation without a triple.
    """
    rows = np.unique(np.asarray(triples, dtype=np.int64).reshape(-1, 3), axis=0)
    count = np.bincount(rows[:, 1], minlength=num_relations)
    many = []
    for column in (2, 0):
        pairs = np.unique(rows[:, [1, column]], axis=0)
        groups = np.bincount(pairs[:, 0], minlength=num_relations)
        many.append(count >= MANY * groups)
    many_heads, many_tails = many
    return np.where(count > 0, 2 * many_heads + many_tails, -1).astype(np.int8)


def category_masks(categories: np.ndarray, relations: np.ndarray) -> dict[str, np.ndarray]:
    """Which triples are in each category, bool [T] by name, as `metrics_by_stratum` takes them.

    Args:
        categories: int8 [R], see `relation_categories`.
        relations: int64 [T], of the triples; those of a relation without a category are in none.
    """
    return {name: categories[relations] == code for code, name in enumerate(CATEGORIES)}
