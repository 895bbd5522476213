"""What fits where: kinds of entities in the places of relations, and what excludes what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from relgnn.rules.adjacency import Adjacency

SMOOTH = 0.5
"""Entities with and without a kind that each place is thought to have beside those seen."""
FUNCTIONAL = 0.95
"""A relation this functional gives each entity one answer."""
ENOUGH = 30
"""Triples of a relation that must never coincide with another one's for both to be disjoint: then
fewer than a tenth of its pairs have the other, with confidence .95 (3 / n)."""


def kinds_of(types: Sequence[Sequence[str]], graph: Adjacency) -> csr_array:
    """Kinds of entities, bool [E, K].

    Args:
        types: of each entity, type ids; where nobody has any, the directed relations that leave an
            entity are its kinds.
        graph: the given triples.
    """
    if not any(types):
        return csr_array(graph.starts.T)
    names = {kind: i for i, kind in enumerate(sorted({k for own in types for k in own}))}
    rows = np.repeat(np.arange(len(types)), [len(set(own)) for own in types])
    columns = [names[kind] for own in types for kind in sorted(set(own))]
    return csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(types), len(names)))


class Signatures:
    """How well an entity fits a place of a relation, and what it would contradict.

    A place is a directed relation that leaves the entity: r the head's, r + R the tail's.

        fit(e, p) = max_k  log (n_pk + s) / (n_p + 2 s) - log (n_k + s) / (E + 2 s)

    over the kinds k of e; n_pk of the n_p entities in place p have kind k, n_k of all E, and
    s = `SMOOTH`. 0 for an entity without kinds; above 0 one of a kind that stands there more often
    than elsewhere. Where kinds are themselves the relations of an entity, being in the place is no
    reason to fit.

    Args:
        graph: the given triples.
        kinds: bool [E, K], see `kinds_of`.
    """

    def __init__(self, graph: Adjacency, kinds: csr_array) -> None:
        self.graph, self.kinds = graph, kinds.tocsr()
        there = csr_array(graph.starts.astype(np.int64)) @ kinds.astype(np.int64)
        size, all_ = graph.starts.sum(1)[:, None], np.asarray(kinds.sum(0))[None]
        self.lift = np.log((there.toarray() + SMOOTH) / (size + 2 * SMOOTH))
        self.lift -= np.log((all_ + SMOOTH) / (graph.num_entities + 2 * SMOOTH))
        self.induced = kinds.shape[1] == 2 * graph.num_relations and bool(
            (graph.starts == kinds.toarray().T).all()
        )
        if self.induced:
            np.fill_diagonal(self.lift, -np.inf)

    def fit(self, entities: np.ndarray, places: np.ndarray) -> np.ndarray:
        """fit(e, p) of entities [N] in places [N]."""
        own = self.kinds[entities]
        size = np.diff(own.indptr)
        lift = self.lift[np.repeat(places, size), own.indices]
        found = np.full(len(entities), -np.inf)
        np.maximum.at(found, np.repeat(np.arange(len(entities)), size), lift)
        return np.where(np.isfinite(found), found, 0.0)

    def conflicts(self, triples: np.ndarray) -> np.ndarray:
        """Whether a functional relation already has another answer, bool [N, 2].

        First whether the head has another tail, then whether the tail has another head.
        """
        found = np.zeros((len(triples), 2), dtype=bool)
        head, relation, tail = triples.T
        for side, (node, other, shift) in enumerate(((head, tail, 0), (tail, head, 1))):
            directed = relation + shift * self.graph.num_relations
            for one in np.unique(directed).tolist():
                if self.graph.functionality[one] < FUNCTIONAL:
                    continue
                rows = np.flatnonzero(directed == one)
                matrix = self.graph[one][node[rows]]
                same = self.graph.holds(one, node[rows], other[rows])
                found[rows, side] = np.diff(matrix.indptr) > same
        return found

    def excluded(self, triples: np.ndarray) -> np.ndarray:
        """Whether the pair has a given relation that never goes with this one, bool [N]."""
        found = np.zeros(len(triples), dtype=bool)
        head, relation, tail = triples.T
        for directed in range(2 * self.graph.num_relations):
            rows = np.flatnonzero(self.graph.holds(directed, head, tail))
            found[rows] |= self.disjoint[directed, relation[rows]]
        return found

    @cached_property
    def disjoint(self) -> np.ndarray:
        """Directed relations [2R, R] that hold of no pair together although both are frequent."""
        graph, size = self.graph, self.graph.num_relations
        head, relation, tail = graph.triples.T
        pair = head * graph.num_entities + tail
        names, row = np.unique(pair, return_inverse=True)
        forward = csr_array(
            (np.ones(len(row), np.int64), (row, relation)), shape=(len(names), size)
        )
        turned = tail * graph.num_entities + head
        known = np.isin(turned, names)
        back = csr_array(
            (np.ones(known.sum(), np.int64),
             (np.searchsorted(names, turned[known]), relation[known])),
            shape=(len(names), size),
        )  # fmt: skip
        both = np.concatenate([(one.T @ forward).toarray() for one in (forward, back)])
        enough = np.minimum(graph.sizes[:, None], graph.sizes[None, :size]) >= ENOUGH
        return (both == 0) & enough
