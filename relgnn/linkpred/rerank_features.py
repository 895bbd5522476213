"""What is known of a query's best candidates besides one score: other views, paths, texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.evaluate import DenseScores
from relgnn.ranking.ranks import FilterIndex
from relgnn.rules.adjacency import LONGEST, Adjacency

QUERIES = 128
"""Queries whose scores of all entities are in memory at once."""


@dataclass(frozen=True)
class Listed:
    """The best candidates of Q queries.

    Args:
        nodes: int64 [Q, K], best first.
        features: float [Q, K, F], of `CandidateFeatures.names`.
    """

    nodes: Tensor
    features: Tensor


class CandidateFeatures:
    """Features of the candidates of queries (h, r, ?), r + R asks for heads.

    - base, rank: the base score less the best candidate's, and the logarithm of the place;
    - of each view: its score less the best candidate's, and the logarithm of the place among them;
    - walks of one to three given triples, in any direction, between head and candidate: log(1 + n);
    - reverse: whether the candidate has the relation to the head; same: whether it is the head;
    - often: how often the candidate answers the relation in the given triples, and degree, how
      many given triples it is in: log(1 + n);
    - text: cosine of the texts of head and candidate, where a bi-encoder reads them.

    None of them looks beyond the given triples.

    Args:
        graph: its given triples.
        base: whose best candidates are listed; given answers are left out.
        views: by name.
        texts: [N, d] of entities' texts, or None.
        top: K.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        base: DenseScores,
        views: dict[str, DenseScores],
        texts: Tensor | None,
        top: int,
    ) -> None:
        self.base, self.views = base, views
        self.top = min(top, graph.num_entities)
        self.texts = None if texts is None else normalize(texts, dim=1)
        self.known = FilterIndex.build(graph.train, graph.num_relations)
        self.linked = Adjacency(graph.train, graph.num_entities, graph.num_relations)
        self.every = self.linked.every.astype(np.float32)
        self.degree = np.asarray(self.every.sum(0)).ravel()
        relations = range(2 * graph.num_relations)
        self.often = np.stack([np.asarray(self.linked[r].sum(0)).ravel() for r in relations])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features, in order."""
        of_views = [f"{name}{end}" for name in self.views for end in ("", " rank")]
        walks = [f"walks of {length}" for length in range(1, LONGEST + 1)]
        text = [] if self.texts is None else ["text"]
        return ("base", "rank", *of_views, *walks, "reverse", "same", "often", "degree", *text)

    def __call__(self, heads: Tensor, relations: Tensor) -> Listed:
        """The candidates of queries [Q], int64 on the CPU."""
        parts = [one for _, one in self.listed(heads, relations)]
        return Listed(
            torch.cat([one.nodes for one in parts]), torch.cat([one.features for one in parts])
        )

    def listed(self, heads: Tensor, relations: Tensor) -> Iterator[tuple[Tensor, Listed]]:
        """The base's scores [q, N] and the candidates of some of the queries [Q] at a time."""
        for part in zip(heads.split(QUERIES), relations.split(QUERIES), strict=True):
            base = self.base(*part).float()
            yield base, self._list(*part, base)

    def _list(self, heads: Tensor, relations: Tensor, base: Tensor) -> Listed:
        base = base.clone()
        base[self.known.known(heads, relations)] = float("-inf")
        score, nodes = base.topk(self.top, dim=1)
        # where nearly every entity is a given answer, given ones fill the list, last
        score = score.clamp(min=torch.finfo(torch.float32).min / 2)
        place = torch.arange(1, self.top + 1).float().log().expand_as(score)
        columns = [_below_best(score), place]
        for view in self.views.values():
            own = view(heads, relations).float().gather(1, nodes)
            order = torch.argsort(torch.argsort(own, dim=1, descending=True, stable=True), dim=1)
            columns += [_below_best(own), (order + 1).float().log()]
        columns += [torch.from_numpy(one) for one in self._of_graph(heads, relations, nodes)]
        columns.append(nodes.eq(heads[:, None]).float())
        often = self.often[relations.numpy()[:, None], nodes.numpy()]
        columns += [torch.from_numpy(np.log1p(one)) for one in (often, self.degree[nodes.numpy()])]
        if self.texts is not None:
            columns.append((self.texts[heads][:, None] * self.texts[nodes]).sum(2))
        return Listed(nodes, torch.stack([one.float() for one in columns], 2))

    def _of_graph(self, heads: Tensor, relations: Tensor, nodes: Tensor) -> Sequence[np.ndarray]:
        rows, columns = np.arange(len(heads))[:, None], nodes.numpy()
        walks = self.every[heads.numpy()]
        found = []
        for _ in range(LONGEST):
            found.append(np.log1p(walks.toarray()[rows, columns]))
            walks = walks @ self.every
        reverse = np.zeros(columns.shape, dtype=np.float32)
        for relation in relations.unique().tolist():
            own = np.flatnonzero(relations.numpy() == relation)
            start = np.repeat(heads.numpy()[own], columns.shape[1])
            holds = self.linked.holds(relation, columns[own].ravel(), start)
            reverse[own] = holds.reshape(len(own), -1)
        return [*found, reverse]


def _below_best(scores: Tensor) -> Tensor:
    """Scores [Q, K] less the best of each query, not beyond what a network can take."""
    return (scores - scores.amax(1, keepdim=True)).clamp(min=-100.0)
