"""Mining of path rules: bodies found on sampled triples, confidences counted on the graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from relgnn.config import MiningConfig
from relgnn.rules.adjacency import Adjacency, Body
from relgnn.rules.rule import Rule

FOUND = 2
"""Sampled triples of a relation that a body must connect to be looked at further."""


def mine(graph: Adjacency, settings: MiningConfig, generator: np.random.Generator) -> list[Rule]:
    """Rules by head relation, the most confident first.

    Bodies are generalised from paths between the ends of sampled triples (Meilicke et al., AnyBURL,
    2019). A body is then followed from up to `starts` entities, and every pair that it connects
    counts: nothing of the confidence is sampled where there are no more entities than that.

    Args:
        graph: the given triples.
        settings: see there; `unseen` is AnyBURL's P_c: a rule that was seen twice and held twice is
            not certain.
        generator: of the samples.
    """
    candidates = find_bodies(graph, settings, generator)
    heads_of: dict[Body, list[int]] = defaultdict(list)
    for head, bodies in candidates.items():
        for body in bodies:
            heads_of[body].append(head)
    found: list[Rule] = []
    for body in sorted(heads_of):
        found += count(graph, body, heads_of[body], settings, generator)
    return sorted(found, key=lambda one: (one.head, -one.confidence, len(one.body), one.body))


def count(
    graph: Adjacency,
    body: Body,
    heads: list[int],
    settings: MiningConfig,
    generator: np.random.Generator,
) -> Iterator[Rule]:
    """Rules of one body that are confident enough."""
    rows = np.flatnonzero(graph.starts[body[0]])
    if len(rows) > settings.starts:
        rows = np.sort(generator.choice(rows, settings.starts, replace=False))
    pairs = graph.pairs(body, rows)
    pairs.data = np.ones_like(pairs.data, dtype=np.int32)
    if not pairs.nnz:
        return
    width = np.diff(pairs.indptr)
    for head in heads:
        support = int(pairs.multiply(graph[head][rows]).nnz)
        confidence = support / (pairs.nnz + settings.unseen)
        if support < settings.min_support or confidence < settings.min_confidence:
            continue
        # completeness is likelier on the side that determines the other
        other = graph.inverse(head)
        if graph.functionality[head] >= graph.functionality[other]:
            known = int(width[graph.starts[head][rows]].sum())
        else:
            known = int(graph.starts[other][pairs.indices].sum())
        yield Rule(head, body, confidence, support / (known + settings.unseen), support,
                   int(pairs.nnz))  # fmt: skip


def find_bodies(
    graph: Adjacency, settings: MiningConfig, generator: np.random.Generator
) -> dict[int, list[Body]]:
    """Bodies that connect several sampled triples of a head relation, by relation."""
    edges = _Edges(graph)
    order = np.argsort(graph.triples[:, 1], kind="stable")
    found: dict[int, list[Body]] = {}
    for relation in range(graph.num_relations):
        rows = order[
            slice(*np.searchsorted(graph.triples[order, 1], [relation, relation + 1]).tolist())
        ]
        if len(rows) > settings.triples:
            rows = np.sort(generator.choice(rows, settings.triples, replace=False))
        head, _, tail = graph.triples[rows].T
        bodies: list[Body] = []
        for length in range(1, settings.length + 1):
            hits = edges.paths(head, tail, length, settings.branch, generator)
            own, times = np.unique(hits, axis=0, return_counts=True)
            kept = np.flatnonzero(times >= FOUND)
            kept = kept[np.argsort(-times[kept], kind="stable")][: settings.bodies]
            bodies += [tuple(one) for one in own[kept].tolist()]
        found[relation] = [body for body in bodies if body != (relation,)]
    return found


class _Edges:
    """Directed edges (u, relation, v) sorted by u, with those between two nodes side by side."""

    def __init__(self, graph: Adjacency) -> None:
        head, relation, tail = graph.triples.T
        source = np.concatenate([head, tail])
        target = np.concatenate([tail, head])
        kind = np.concatenate([relation, relation + graph.num_relations])
        self.size, self.relations = graph.num_entities, graph.num_relations
        self.code = source * self.size + target
        order = np.lexsort((kind, self.code))
        self.code, self.kind, self.target = self.code[order], kind[order], target[order]
        self.start = np.searchsorted(self.code, np.arange(self.size + 1) * self.size)

    def paths(
        self, head: np.ndarray, tail: np.ndarray, length: int, branch: int,
        generator: np.random.Generator,
    ) -> np.ndarray:  # fmt: skip
        """Bodies that connect each pair, int64 [hits, length], each once a pair.

        Args:
            head, tail: int64 [B].
            length: of the paths.
            branch: neighbours followed from a node at most.
            generator: of the neighbours that are followed.
        """
        pair = np.arange(len(head))
        if length == 1:
            which, last = self._between(head, tail)
            return _distinct(which, last[:, None])
        owner, edge = self._leaving(head, branch, generator)
        first, middle = self.kind[edge], self.target[edge]
        kept = middle != tail[owner]
        owner, first, middle = pair[owner[kept]], first[kept], middle[kept]
        if length == 2:
            which, last = self._between(middle, tail[owner])
            return _distinct(owner[which], np.column_stack([first[which], last]))
        # backwards from the tail, and then whatever joins the two middle nodes
        step, edge = self._leaving(tail, branch, generator)
        ends = np.searchsorted(step, [np.arange(len(head)), np.arange(len(head)) + 1])
        size = (ends[1] - ends[0])[owner]
        left = np.repeat(np.arange(len(owner)), size)
        right = edge[np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
                     + np.repeat(ends[0][owner], size)]  # fmt: skip
        other, last = self.target[right], self.kind[right]
        kept = (other != head[owner[left]]) & (other != middle[left])
        left, other, last = left[kept], other[kept], last[kept]
        which, second = self._between(middle[left], other)
        last = (last[which] + self.relations) % (2 * self.relations)
        return _distinct(owner[left[which]], np.column_stack([first[left[which]], second, last]))

    def _between(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each edge from one[i] to other[i]: i, and the edge's relation."""
        code = one * self.size + other
        start = np.searchsorted(self.code, code)
        size = np.searchsorted(self.code, code, side="right") - start
        which = np.repeat(np.arange(len(code)), size)
        place = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
        return which, self.kind[place + start[which]]

    def _leaving(
        self, nodes: np.ndarray, branch: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Up to `branch` edges that leave each node: the node's place, ascending, and the edge."""
        start, degree = self.start[nodes], self.start[nodes + 1] - self.start[nodes]
        size = np.minimum(degree, branch)
        owner = np.repeat(np.arange(len(nodes)), size)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
        # of many some at even distances from a random first: distinct, each as likely as another
        stride = degree[owner] // np.maximum(size[owner], 1)
        shift = generator.integers(0, np.maximum(degree, 1))[owner]
        return owner, start[owner] + (place * stride + shift) % np.maximum(degree[owner], 1)


def _distinct(pair: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Each body of each pair once, without the pair."""
    rows = np.unique(np.column_stack([pair, bodies]), axis=0)
    return rows[:, 1:]
