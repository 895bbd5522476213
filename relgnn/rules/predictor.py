"""Rules as a link predictor, and the proofs of what they predict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relgnn.config import MiningConfig
from relgnn.ranking.ranks import FilterIndex, Ranks, concatenate, evaluate_ranks
from relgnn.rules.adjacency import Adjacency, Body
from relgnn.rules.constants import ConstantRule, ConstantRules
from relgnn.rules.rule import Rule
from relgnn.runtime import rng

MOST = 10
"""Rules that count for an answer."""
PRIOR = 1e-6
"""Weight of an answer's frequency, which orders what no rule derives."""
BATCH = 256


class Proof(NamedTuple):
    """Why a triple is predicted.

    Args:
        rule: which fires.
        nodes: entities of one of its groundings, from head to tail; of a rule with a constant the
            entity that it starts from, head or tail, and those that it names.
        groundings: how many there are.
    """

    rule: Rule | ConstantRule
    nodes: tuple[int, ...]
    groundings: int


class RulePredictor:
    """Scores of answers by the rules that derive them from the given triples.

        s(h, r, t) = Σ_k decay^k c_k,   c_0 ≥ c_1 ≥ … the confidences of the rules that fire

    With a decay near 0 that is AnyBURL's order by the best rule, then the next, and so on; rules
    overlap, so that a sum, or noisy-or, of all counts the same evidence many times. An answer that
    no rule derives scores by how often the relation has it, below every rule's.

    Args:
        graph: the given triples.
        rules: of paths.
        constants: rules that name an entity; None for none.
        decay: see there. On FB15k-237's valid triples .5 gave .289, and .01 .282.
    """

    def __init__(
        self,
        graph: Adjacency,
        rules: Iterable[Rule],
        constants: ConstantRules | None = None,
        decay: float = 0.5,
    ) -> None:
        self.graph, self.constants, self.decay = graph, constants, decay
        self.rules: dict[int, list[Rule]] = defaultdict(list)
        for rule in sorted(rules, key=lambda one: -one.confidence):
            self.rules[rule.head].append(rule)

    def scores(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores float64 [B, E] of all answers of queries (h, r, ?); r + R asks for heads.

        Args:
            heads: int64 [B].
            relations: int64 [B] in [0, 2R).
        """
        out = torch.empty(len(heads), self.graph.num_entities, dtype=torch.float64)
        for relation in relations.unique().tolist():
            own = (relations == relation).nonzero()[:, 0]
            nodes, place = heads[own].unique(return_inverse=True)
            out[own] = torch.from_numpy(self._of(relation, nodes.numpy()))[place]
        return out

    def ranks(
        self, triples: np.ndarray, known: np.ndarray, tolerance: float = 1e-9
    ) -> dict[str, Ranks]:
        """Filtered ranks by side, relation by relation, which is fastest.

        Args:
            triples: int64 [T, 3].
            known: int64 [K, 3], answers that are left out.
            tolerance: scores this near are equal.
        """
        filtered = FilterIndex.build(known, self.graph.num_relations)
        order = np.argsort(triples[:, 1], kind="stable")
        parts = [
            evaluate_ranks(
                self.scores, triples[rows], filtered, self.graph.num_relations, BATCH, tolerance
            )
            for rows in np.split(order, np.flatnonzero(np.diff(triples[order, 1])) + 1)
        ]
        back = np.argsort(order)
        return {side: concatenate([one[side] for one in parts]).subset(back) for side in parts[0]}

    def answers(
        self, node: int, relation: int, backward: bool, limit: int
    ) -> list[tuple[int, float]]:
        """The best answers that some rule derives and no given triple has, with their scores.

        Args:
            node: what is given.
            relation: in [0, R).
            backward: ask for heads of `node`, not for tails.
            limit: answers at most.
        """
        directed = relation + self.graph.num_relations * backward
        [scores] = self._of(directed, np.array([node]), prior=0.0)
        scores[self.graph[directed][[node]].indices] = 0
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(int(one), float(scores[one])) for one in best if scores[one] > 0]

    def confidence(self, triples: np.ndarray) -> np.ndarray:
        """The score [N] of each triple, by its rules for the tail; 0 where none fires."""
        found = np.zeros(len(triples))
        for relation in np.unique(triples[:, 1]).tolist():
            own = np.flatnonzero(triples[:, 1] == relation)
            nodes, place = np.unique(triples[own, 0], return_inverse=True)
            for part in np.array_split(np.arange(len(nodes)), -(-len(nodes) // BATCH)):
                scores = self._of(relation, nodes[part], prior=0.0)
                rows = np.flatnonzero(np.isin(place, part))
                found[own[rows]] = scores[place[rows] - part[0], triples[own[rows], 2]]
        return found

    def _of(self, relation: int, nodes: np.ndarray, prior: float = PRIOR) -> np.ndarray:
        """Scores [len(nodes), E] of one directed relation."""
        graph = self.graph
        places, answers, values = [], [], []
        for rule in self.rules[relation % graph.num_relations]:
            body = rule.body if relation < graph.num_relations else graph.reverse(rule.body)
            pairs = graph.pairs(body, nodes)
            places.append(np.repeat(np.arange(len(nodes)), np.diff(pairs.indptr)))
            answers.append(pairs.indices)
            values.append(np.full(pairs.nnz, rule.confidence))
        if self.constants is not None:
            place, answer, confidence, _ = self.constants.fired(relation, nodes)
            places.append(place)
            answers.append(answer)
            values.append(confidence)
        scores = np.zeros((len(nodes), graph.num_entities))
        if places:
            code = np.concatenate(places) * graph.num_entities + np.concatenate(answers)
            value = np.concatenate(values)
            order = np.lexsort((-value, code))
            code, value = code[order], value[order]
            first = np.flatnonzero(np.diff(code, prepend=-1))
            rank = np.arange(len(code)) - np.repeat(first, np.diff(np.append(first, len(code))))
            kept = rank < MOST
            discounted = value[kept] * self.decay ** rank[kept]
            scores += np.bincount(code[kept], discounted, scores.size).reshape(scores.shape)
        if prior:
            often = np.asarray(graph[relation].sum(0)).ravel()
            scores += prior * often / max(1, often.sum())
        return scores

    def prove(self, head: int, relation: int, tail: int, limit: int = 3) -> list[Proof]:
        """The most confident rules that derive a triple, each with one of its groundings."""
        found: list[Proof] = []
        for rule in self.rules[relation]:
            count = int(self.graph.pairs(rule.body, np.array([head]))[0, tail])
            if count:
                found.append(Proof(rule, self._grounding(rule.body, head, tail), count))
            if len(found) == limit:
                break
        if self.constants is not None:
            both = ((relation, head, tail), (self.graph.inverse(relation), tail, head))
            for directed, start, end in both:
                for named in self.constants.explain(directed, start, end, limit):
                    nodes = (start, named.entity, end) if named.entity >= 0 else (start, end)
                    found.append(Proof(named, nodes, 1))
        return sorted(found, key=lambda one: -one.rule.confidence)[:limit]

    def _grounding(self, body: Body, head: int, tail: int) -> tuple[int, ...]:
        """The first path from head to tail along the body whose nodes all differ."""
        paths: Sequence[tuple[int, ...]] = [(head,)]
        for relation in body:
            matrix = self.graph[relation]
            paths = [
                (*path, node)
                for path in paths
                for node in matrix.indices[slice(*matrix.indptr[path[-1] : path[-1] + 2])].tolist()
                if node not in path
            ]
        return next(path for path in paths if path[-1] == tail)


def make_predictor(
    graph: Adjacency, rules: Iterable[Rule], settings: MiningConfig, seed: int
) -> RulePredictor:
    """A predictor, with rules that name entities where the settings want them."""
    constants = None
    if settings.constants:
        constants = ConstantRules(graph, settings, rng("rules with constants", seed))
    return RulePredictor(graph, rules, constants, settings.decay)
