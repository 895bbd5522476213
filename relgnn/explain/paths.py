"""Paths between a head and its answer, with the rules that they instantiate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from relgnn.config import MiningConfig
from relgnn.data import KnowledgeGraph
from relgnn.loop.opened import OpenRun
from relgnn.loop.why import Secrets, neighbours, path_line
from relgnn.rules.adjacency import Body
from relgnn.rules.judge import RuleJudge
from relgnn.rules.predictor import RulePredictor
from relgnn.rules.rule import Rule

MOST = 20_000
"""Paths that are looked through at most, those over little known entities first."""


@dataclass(frozen=True)
class Path:
    """A path of known triples from head to answer.

    Args:
        nodes: entities from the head to the answer, all different.
        body: directed relations between them; r + R is r read from tail to head.
        rule: the most confident rule for the asked relation whose body it is; None without one.
        count: paths with this body.
    """

    nodes: tuple[int, ...]
    body: Body
    rule: Rule | None
    count: int = 1


@dataclass(frozen=True)
class PathLine:
    """A path in words, its rule and how right the rule is; None where no rule has it."""

    path: str
    count: int
    rule: str | None = None
    confidence: float | None = None
    support: int | None = None


class PathFinder:
    """Finds paths over known triples, and mines once what rules they are right by.

    Args:
        graph: names, types; its given triples are known.
        learned: int64 [A, 3], triples that are known beside them; untyped ones are left out.
        settings: of the mining, which sees the given triples only.
        seed: of the mining's samples.
    """

    def __init__(
        self, graph: KnowledgeGraph, learned: np.ndarray, settings: MiningConfig, seed: int
    ) -> None:
        self.graph = graph
        plain = settings.model_copy(update={"constants": False})
        self.rules: RulePredictor = RuleJudge.learn(graph.train, graph, plain, seed).predictor
        typed = learned[learned[:, 1] < graph.num_relations]
        known = np.concatenate([graph.train, typed])
        self._steps = neighbours(known[known[:, 0] != known[:, 2]], graph.num_relations)

    @classmethod
    def of_run(cls, run: OpenRun) -> PathFinder:
        """Over the given triples of a run and those that it accepted, mined as its loop mines."""
        loop, learned = run.world.config.loop, run.learned.pseudo.triples
        settings = loop.rules if loop is not None and loop.rules is not None else MiningConfig()
        return cls(run.graph, learned, settings, run.world.runtime.seed)

    def paths(
        self, head: int, relation: int, tail: int, limit: int = 5, secrets: Secrets | None = None
    ) -> list[Path]:
        """At most `limit` paths of up to three steps, one of each body, none the triple itself.

        Those that instantiate a rule come first, by confidence; then the short, and those over
        entities that few triples have: everybody is linked to "human".

        Args:
            head, relation, tail: what is explained.
            limit: paths at most.
            secrets: whose triples no path may show; None shows all.
        """
        rules = {one.body: one for one in reversed(self.rules.rules[relation])}
        found = [
            Path(nodes, body, rules.get(body))
            for nodes in islice(self._walks(head, tail), MOST)
            for body in self._bodies(nodes)
            if body != (relation,) and not (secrets and self._hidden(nodes, body, secrets))
        ]
        found.sort(key=self._rank)
        often = Counter(path.body for path in found)
        one_each = {path.body: path for path in reversed(found)}
        best = sorted(one_each.values(), key=self._rank)[:limit]
        return [replace(path, count=often[path.body]) for path in best]

    def line(self, path: Path, named: bool = False) -> PathLine:
        """The path in words.

        Args:
            path: what `paths` found.
            named: the rule with the names of its relations; else with their ids, as in a file.
        """
        graph, rule = self.graph, path.rule
        line = PathLine(path_line(graph, path.nodes, path.body), path.count)
        if rule is None:
            return line
        names = graph.relations
        if named:
            names = tuple(graph.relation_label(i) for i in range(graph.num_relations))
        return replace(
            line, rule=rule.show(names), confidence=rule.confidence, support=rule.support
        )

    def _hidden(self, nodes: Sequence[int], body: Body, secrets: Secrets) -> bool:
        size = self.graph.num_relations
        steps = zip(nodes, body, nodes[1:], strict=False)
        return any(
            secrets.hides(*((a, r, b) if r < size else (b, r - size, a))) for a, r, b in steps
        )

    def _walks(self, head: int, tail: int) -> Iterator[tuple[int, ...]]:
        """Entities of every path of one to three steps, the shortest first."""
        near, last = self._steps.get(head, {}), self._steps.get(tail, {})
        if head == tail:
            return
        if tail in near:
            yield head, tail
        first = sorted(near.keys() - {tail}, key=self._degree)
        for node in first:
            if node in last:
                yield head, node, tail
        # made once: both ends may have a hundred thousand neighbours
        beside = last.keys() - {head}
        for node in first:
            between = self._steps[node].keys() & beside
            for other in sorted(between, key=self._degree):
                yield head, node, other, tail

    def _bodies(self, nodes: tuple[int, ...]) -> list[Body]:
        bodies: list[Body] = [()]
        for start, end in zip(nodes, nodes[1:], strict=False):
            bodies = [(*body, relation) for body in bodies for relation in self._steps[start][end]]
        return bodies

    def _degree(self, node: int) -> tuple[int, int]:
        return len(self._steps[node]), node

    def _rank(self, path: Path) -> tuple[float, int, int, tuple[int, ...], Body]:
        confidence = path.rule.confidence if path.rule is not None else 0.0
        busy = sum(len(self._steps[node]) for node in path.nodes[1:-1])
        return -confidence, len(path.body), busy, path.nodes, path.body
