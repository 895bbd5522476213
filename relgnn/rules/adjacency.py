"""The graph as one sparse matrix a directed relation, and what paths of relations connect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, diags_array

Body = tuple[int, ...]
"""Directed relations from x to y, one after another; r + R is r read from tail to head."""

LONGEST = 3


class Adjacency:
    """Sparse matrices A_r [E, E] of 2R directed relations, without loops and duplicates.

    Args:
        triples: int64 [N, 3].
        num_entities: E.
        num_relations: R.
    """

    def __init__(self, triples: np.ndarray, num_entities: int, num_relations: int) -> None:
        triples = np.unique(np.asarray(triples, dtype=np.int64).reshape(-1, 3), axis=0)
        self.triples = triples[triples[:, 0] != triples[:, 2]]
        self.num_entities, self.num_relations = num_entities, num_relations

    @cached_property
    def _matrices(self) -> list[csr_array]:
        """All A_r: a number an entity and relation, however few triples there are."""
        order = np.argsort(self.triples[:, 1], kind="stable")
        bounds = np.searchsorted(self.triples[order, 1], np.arange(self.num_relations + 1))
        forward = []
        for r in range(self.num_relations):
            head, _, tail = self.triples[order[bounds[r] : bounds[r + 1]]].T
            forward.append(self._counted(head, tail))
        return [*forward, *(one.T.tocsr() for one in forward)]

    def _counted(self, rows: np.ndarray, columns: np.ndarray) -> csr_array:
        """How often each place is named, int32 [E, E]."""
        shape = (self.num_entities, self.num_entities)
        return csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)

    def __getitem__(self, relation: int) -> csr_array:
        """A_r, int32 [E, E]; of r + R the transpose of r's."""
        return self._matrices[relation]

    @cached_property
    def every(self) -> csr_array:
        """How many triples link two entities, whatever the relation and direction, int32 [E, E]."""
        head, _, tail = self.triples.T
        return self._counted(np.concatenate([head, tail]), np.concatenate([tail, head]))

    @cached_property
    def starts(self) -> np.ndarray:
        """Which entities a directed relation leaves, bool [2R, E]."""
        return np.stack([np.diff(one.indptr) > 0 for one in self._matrices])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of triples of each directed relation, int64 [2R]."""
        return np.array([one.nnz for one in self._matrices])

    @cached_property
    def functionality(self) -> np.ndarray:
        """Entities that a directed relation leaves over its triples, [2R]; 1: at most one each.

        (Suchanek et al., PARIS, 2011.) Of a relation without triples 1.
        """
        found: np.ndarray = self.starts.sum(1) / np.maximum(self.sizes, 1)
        return np.where(self.sizes, found, 1.0)

    def holds(self, relation: int, heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
        """Which pairs have a directed relation, bool [N]."""
        # an empty index gives a sparse array where any other gives a dense one
        found = self[relation][heads, tails] if len(heads) else np.zeros(0)
        return np.asarray(found).ravel() > 0

    def inverse(self, relation: int) -> int:
        """The directed relation read the other way."""
        size = self.num_relations
        return relation - size if relation >= size else relation + size

    def reverse(self, body: Sequence[int]) -> Body:
        """The body from y to x."""
        return tuple(self.inverse(r) for r in reversed(body))

    def pairs(self, body: Sequence[int], rows: np.ndarray) -> csr_array:
        """Which y each x of `rows` is connected with, [len(rows), E]; entries count the paths.

        All entities of a path differ (object identity), so that a path never goes back over the
        edge that it came by: it says nothing of x and y that way. With loops gone, walks
        x, z, w, y are paths less those with w = x, those with y = z, and those with y = x:

            P = (A_1 A_2 - [w = x]) A_3 - A_1 ∘ (diag(A_2 A_3) - A_2ᵀ ∘ A_3),  P_xx = 0

        Args:
            body: one to three directed relations.
            rows: int64 [B], entities to start from, each once.
        """
        first = self[body[0]][rows]
        found = first
        if len(body) > 1:
            found = first @ self[body[1]]
        if len(body) > 2:
            second, third = self[body[1]], self[body[2]]
            back = second.T.tocsr().multiply(third).tocsr()
            closed = np.asarray(second.multiply(self[self.inverse(body[2])]).sum(1)).ravel()
            found = _without(found, rows) @ third
            found = found - first @ diags_array(closed, dtype=np.int64) + first.multiply(back[rows])
        found = _without(found.tocsr(), rows)
        found.eliminate_zeros()
        return found


def _without(matrix: csr_array, rows: np.ndarray) -> csr_array:
    """The matrix with 0 at each row's own entity."""
    matrix = matrix.copy()
    own = np.repeat(rows, np.diff(matrix.indptr))
    matrix.data[matrix.indices == own] = 0
    return matrix
