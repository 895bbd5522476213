"""The best entities that a predictor finds for a query, and queries whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.evaluate import DenseScores
from relgnn.ranking.ranks import FilterIndex, Ranks, filtered_ranks

QUERIES = 128
"""Queries whose scores of all entities are in memory at once."""
LOWEST = torch.finfo(torch.float32).min / 2
"""The score of a given answer that fills a list, where fewer entities than that are none."""


@dataclass(frozen=True)
class Listed:
    """The best candidates of Q queries.

    Args:
        nodes: int64 [Q, K], best first.
        features: float [Q, K, F].
    """

    nodes: Tensor
    features: Tensor


@dataclass(frozen=True)
class Best:
    """Some queries, their scores and their best candidates.

    Args:
        heads, relations: int64 [q]; r + R asks for heads.
        base: float [q, N], scores of all entities.
        nodes: int64 [q, K], best first.
        scores: float [q, K], of these; `LOWEST` where one is a given answer.
    """

    heads: Tensor
    relations: Tensor
    base: Tensor
    nodes: Tensor
    scores: Tensor


class BestCandidates:
    """The best entities of a predictor that are no given answers.

    Args:
        graph: its given triples.
        base: whose scores list them.
        top: K.
    """

    def __init__(self, graph: KnowledgeGraph, base: DenseScores, top: int) -> None:
        self.base, self.top = base, min(top, graph.num_entities)
        self.known = FilterIndex.build(graph.train, graph.num_relations)

    def parts(self, heads: Tensor, relations: Tensor) -> Iterator[Best]:
        """Candidates of queries [Q], int64 on the CPU, some queries at a time."""
        for own in zip(heads.split(QUERIES), relations.split(QUERIES), strict=True):
            base = self.base(*own).float()
            among = base.clone()
            among[self.known.known(*own)] = float("-inf")
            scores, nodes = among.topk(self.top, dim=1)
            yield Best(*own, base, nodes, scores.clamp(min=LOWEST))

    def __call__(self, heads: Tensor, relations: Tensor) -> Listed:
        """Candidates of queries [Q], with the base's score as their one feature."""
        parts = list(self.parts(heads, relations))
        scores = torch.cat([one.scores for one in parts])
        return Listed(torch.cat([one.nodes for one in parts]), scores[:, :, None])


def promoted(best: BestCandidates, order: Callable[[Best], Tensor]) -> DenseScores:
    """The base's scores, in which the candidates come first, in another order.

    Args:
        best: lists candidates.
        order: new scores [q, K] of candidates, on the CPU.
    """

    @torch.no_grad()
    def scores(heads: Tensor, relations: Tensor) -> Tensor:
        parts = []
        for one in best.parts(heads, relations):
            new = order(one)
            above = one.base.amax(1, keepdim=True) + 1 - new.amin(1, keepdim=True)
            parts.append(one.base.scatter(1, one.nodes, new + above))
        return torch.cat(parts)

    return scores


@dataclass(frozen=True)
class Queries:
    """Queries with an answer, and their candidates.

    Args:
        heads, relations, answers: int64 [Q]; r + R asks for heads.
        nodes: int64 [Q, K], candidates.
        features: float [Q, K, F].
        other: bool [Q, K], candidates that are other known answers.
        triple: int64 [Q], which triple each is of.
    """

    heads: Tensor
    relations: Tensor
    answers: Tensor
    nodes: Tensor
    features: Tensor
    other: Tensor
    triple: Tensor

    @property
    def place(self) -> Tensor:
        """Where the answer is among the candidates, int64 [Q]; -1 where it is not."""
        hit = self.nodes == self.answers[:, None]
        return torch.where(hit.any(1), hit.int().argmax(1), -1)

    def of(self, chosen: Tensor) -> Queries:
        """Those that a bool [Q] or an index picks."""
        return Queries(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def ask_both_ways(triples: Tensor, num_relations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heads, relations and answers int64 [2M] of triples [M, 3]: for all tails, then all heads."""
    head, relation, tail = triples.unbind(1)
    relations = torch.cat([relation, relation + num_relations])
    return torch.cat([head, tail]), relations, torch.cat([tail, head])


def list_queries(
    candidates: Callable[[Tensor, Tensor], Listed],
    graph: KnowledgeGraph,
    triples: np.ndarray,
    known: FilterIndex,
) -> Queries:
    """Both queries of every triple int64 [M, 3].

    Args:
        candidates: of queries.
        graph: sizes.
        triples: that are asked.
        known: what is no wrong answer.
    """
    asked = torch.tensor(triples).reshape(-1, 3)
    heads, relations, answers = ask_both_ways(asked, graph.num_relations)
    listed = candidates(heads, relations)
    rows, columns = known.known(heads, relations)
    true = torch.isin(
        torch.arange(len(heads))[:, None] * graph.num_entities + listed.nodes,
        rows * graph.num_entities + columns,
    )
    hit = listed.nodes == answers[:, None]
    return Queries(
        heads, relations, answers, listed.nodes, listed.features, true & ~hit,
        torch.arange(len(triples)).repeat(2),
    )  # fmt: skip


def ranks_among(scores: Tensor, queries: Queries) -> Ranks:
    """Ranks of answers among their candidates, other known answers left out.

    Args:
        scores: float [Q, K] of candidates.
        queries: an answer that is no candidate counts as the one behind the last.
    """
    lowest = scores.amin(1, keepdim=True) - 1
    place = queries.place
    target = torch.where(place < 0, scores.shape[1], place)
    rows, columns = queries.other.nonzero().unbind(1)
    return filtered_ranks(torch.cat([scores, lowest], 1), target, (rows, columns))
