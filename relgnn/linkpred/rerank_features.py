"""What is known of a query's best candidates besides one score: other views, paths, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.candidates import Best, BestCandidates, Listed
from relgnn.linkpred.evaluate import DenseScores
from relgnn.rules.adjacency import LONGEST, Adjacency


class CandidateFeatures:
    """Features of the candidates of queries (h, r, ?), r + R asks for heads.

    - base, rank: the base score less the best candidate's, and the logarithm of the place;
    - of each view: its score less the best candidate's, and the logarithm of the place among them;
    - walks of one to three given triples, in any direction, between head and candidate: log(1 + n);
    - reverse: whether the candidate has the relation to the head; same: whether it is the head;
    - often: how often the candidate answers the relation in the given triples, and degree, how
      many given triples it is in: log(1 + n);
    - text: cosine of the texts of head and candidate, where a bi-encoder reads them;
    - read: by each way of reading, how sure texts are that the candidate answers, 0 where silent.

    None of them looks beyond the given triples and the texts.

    Args:
        graph: its given triples.
        base: whose best candidates are listed; given answers are left out.
        views: by name.
        texts: [N, d] of entities' texts, or None.
        top: K.
        read: scores from what texts state, see `TextReader.scores`, by name.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        base: DenseScores,
        views: dict[str, DenseScores],
        texts: Tensor | None,
        top: int,
        read: Mapping[str, DenseScores] = MappingProxyType({}),
    ) -> None:
        self.best, self.views, self.read = BestCandidates(graph, base, top), views, read
        self.texts = None if texts is None else normalize(texts, dim=1)
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
        read = [f"read: {name}" for name in self.read]
        of_graph = (*walks, "reverse", "same", "often", "degree")
        return ("base", "rank", *of_views, *of_graph, *text, *read)

    def __call__(self, heads: Tensor, relations: Tensor) -> Listed:
        """The candidates of queries [Q], int64 on the CPU, and their features by `names`."""
        parts = [(one.nodes, self.of(one)) for one in self.best.parts(heads, relations)]
        nodes, features = zip(*parts, strict=True)
        return Listed(torch.cat(nodes), torch.cat(features))

    def of(self, best: Best) -> Tensor:
        """Features [q, K, F] of the candidates of some queries."""
        heads, relations, nodes = best.heads, best.relations, best.nodes
        place = torch.arange(1, nodes.shape[1] + 1).float().log().expand(nodes.shape)
        columns = [_below_best(best.scores), place]
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
        columns += [one(heads, relations).gather(1, nodes) for one in self.read.values()]
        return torch.stack([one.float() for one in columns], 2)

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
