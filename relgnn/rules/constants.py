"""Rules that name an entity: r(x, c) ← s(x, d), and r(x, c) ← s(x, anything)."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from relgnn.config import MiningConfig
from relgnn.rules.adjacency import Adjacency

HUB = 1000
"""Of an entity with more features than this, some are drawn: it would pair all with all."""
BLOCK = 2_000_000
"""Pairs of features counted at once."""
ANYTHING = -1


class ConstantRule(NamedTuple):
    """Whoever has relation `over` to `entity` has `relation` to `answer`.

    Args:
        relation, over: directed, in [0, 2R).
        answer: the entity that is predicted.
        entity: the one it follows from, or `ANYTHING`.
        confidence: see `ConstantRules`.
    """

    relation: int
    answer: int
    over: int
    entity: int
    confidence: float


class ConstantRules:
    """All rules from one feature of x to another, as one sparse matrix.

    A feature of an entity x is an edge to an entity d, (s, d), or to whichever, (s, ·), over
    directed relations s. Every (r, c) follows from every feature that occurs with it:

        confidence = |x with both| / (|x with the feature| + unseen)

    (AnyBURL's acyclic rules of one atom: Meilicke et al., 2019.)

    Args:
        graph: the given triples.
        settings: what counts, see there.
        generator: draws among the features of an entity that has very many.
    """

    def __init__(
        self, graph: Adjacency, settings: MiningConfig, generator: np.random.Generator
    ) -> None:
        self.graph = graph
        size = graph.num_entities
        rows, codes = [], []
        for relation in range(2 * graph.num_relations):
            entity, other = graph[relation].nonzero()
            some = np.flatnonzero(graph.starts[relation])
            rows += [entity, some]
            codes += [self._code(relation, other), self._code(relation, np.full(len(some), size))]
        known, place, count = np.unique(
            np.concatenate(codes), return_inverse=True, return_counts=True
        )
        kept = np.flatnonzero(count >= settings.min_support)
        self.codes, count = known[kept], count[kept]
        often = np.isin(place, kept)
        column = np.searchsorted(kept, place[often])
        shape = (size, len(kept))
        ones = np.ones(len(column), np.float32)
        self.features = csr_array((ones, (np.concatenate(rows)[often], column)), shape=shape)
        self.rules = self._mine(count, settings, generator)

    def _code(self, relation: int, entity: np.ndarray) -> np.ndarray:
        return relation * (self.graph.num_entities + 1) + entity

    def _mine(
        self, count: np.ndarray, settings: MiningConfig, generator: np.random.Generator
    ) -> csr_array:
        """Confidence [F, F] of the second feature where the first is."""
        features = _thinned(self.features, generator)
        named = np.flatnonzero(self.codes % (self.graph.num_entities + 1) < self.graph.num_entities)
        answers, having = features[:, named].tocsr(), features.T.tocsr()
        work = np.cumsum(having @ np.diff(answers.indptr))
        total = int(work[-1]) if len(work) else 0
        ends = np.searchsorted(work, np.arange(BLOCK, total, BLOCK)) + 1
        edges = np.unique([0, *ends.tolist(), len(count)])
        values, rows, columns = [np.zeros(0)], [np.zeros(0, int)], [np.zeros(0, int)]
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            both = (having[start:stop] @ answers).tocoo()
            row, column = both.coords[0] + start, named[both.coords[1]]
            found = both.data / (count[row] + settings.unseen)
            kept = (both.data >= settings.min_support) & (row != column)
            kept &= found >= settings.constant_confidence
            values.append(found[kept])
            rows.append(row[kept])
            columns.append(column[kept])
        coords = np.concatenate(rows), np.concatenate(columns)
        shape = (len(count), len(count))
        return csr_array((np.concatenate(values).astype(np.float32), coords), shape=shape)

    def __len__(self) -> int:
        return int(self.rules.nnz)

    def fired(self, relation: int, nodes: np.ndarray) -> tuple[np.ndarray, ...]:
        """Rules that fire for a directed relation of some entities.

        Args:
            relation: in [0, 2R).
            nodes: int64 [B].

        Returns:
            Place in `nodes`, answer, confidence and feature of each, [F].
        """
        answers, rules = self._of_relation[relation]
        features = self.features[nodes]
        found = rules[features.indices]
        place = np.repeat(np.repeat(np.arange(len(nodes)), np.diff(features.indptr)),
                          np.diff(found.indptr))  # fmt: skip
        feature = np.repeat(features.indices, np.diff(found.indptr))
        return place, answers[found.indices], found.data, feature

    def explain(self, relation: int, node: int, answer: int, limit: int) -> list[ConstantRule]:
        """The most confident rules that give an answer."""
        _, answers, confidence, feature = self.fired(relation, np.array([node]))
        own = np.flatnonzero(answers == answer)
        own = own[np.argsort(-confidence[own], kind="stable")][:limit]
        size = self.graph.num_entities
        found = []
        for i in own.tolist():
            over, entity = divmod(int(self.codes[feature[i]]), size + 1)
            entity = ANYTHING if entity == size else entity
            found.append(ConstantRule(relation, answer, over, entity, float(confidence[i])))
        return found

    @cached_property
    def _of_relation(self) -> list[tuple[np.ndarray, csr_array]]:
        """Of each directed relation its answers and the rules to them, [F, answers]."""
        size, columns = self.graph.num_entities, self.rules.tocsc()
        parts = []
        for relation in range(2 * self.graph.num_relations):
            # the answer "whichever" is none
            bounds = self._code(relation, np.array([0, size]))
            start, stop = np.searchsorted(self.codes, bounds).tolist()
            answers = self.codes[start:stop] - bounds[0]
            parts.append((answers, columns[:, start:stop].tocsr()))
        return parts


def _thinned(features: csr_array, generator: np.random.Generator) -> csr_array:
    """At most `HUB` features of each entity."""
    features = features.copy()
    for entity in np.flatnonzero(np.diff(features.indptr) > HUB).tolist():
        start, stop = features.indptr[entity : entity + 2].tolist()
        features.data[start + generator.permutation(stop - start)[HUB:]] = 0
    features.eliminate_zeros()
    return features
