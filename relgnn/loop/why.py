"""Why a run believes a triple: what it read of it, and what the given graph says around it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.loop.records import RoundTable

LEAST_TEXT = 0.05
"""A text that finds a triple less likely is no reason to believe it."""


@dataclass(frozen=True)
class Reason:
    """One reason for a triple.

    Args:
        kind: "accepted" (read in text and taken by the loop), "text" (read and not taken), "path"
            (given triples that link both ends).
        text: the reason in one line.
        sentence: what was read, None of a path.
        p, p_text, p_graph, p_rules: the loop's probability and its views', None of a path.
    """

    kind: str
    text: str
    sentence: str | None = None
    p: float | None = None
    p_text: float | None = None
    p_graph: float | None = None
    p_rules: float | None = None


class Secrets(Protocol):
    """What no reason may tell."""

    def hides(self, head: int, relation: int, tail: int) -> bool:
        """Whether a triple is not to be told."""

    def silences(self, evidence: str, text: str) -> bool:
        """Whether a sentence, by its evidence id and its words, is not to be told."""


Neighbours = dict[int, dict[int, list[int]]]
"""Entity -> neighbour -> relations; r + R where the triple comes from the neighbour."""


def neighbours(triples: np.ndarray, num_relations: int) -> Neighbours:
    """Who is beside whom by triples [N, 3], and by which relations, each of them once."""
    found: Neighbours = {}
    for head, relation, tail in dict.fromkeys(map(tuple, triples.tolist())):
        found.setdefault(head, {}).setdefault(tail, []).append(relation)
        found.setdefault(tail, {}).setdefault(head, []).append(relation + num_relations)
    return found


class Explainer:
    """Finds reasons in a graph and in the last round's judgements.

    Args:
        graph: given triples and texts.
        table: what the last round judged, None where the run did not read.
        taught: whether the model was taught what the round accepted.
        secrets: what is not told; None tells everything.
    """

    secrets: Secrets | None = None

    def __init__(
        self, graph: KnowledgeGraph, table: RoundTable | None, taught: bool = True
    ) -> None:
        self.graph, self.table, self.taught = graph, table, taught
        self.links = neighbours(graph.train, graph.num_relations)
        triples = table.triples.tolist() if table is not None else []
        self.rows = {tuple(triple): row for row, triple in enumerate(triples)}
        self.texts = {text.id: text.text for text in graph.texts}

    def reasons(self, head: int, relation: int, tail: int, limit: int = 3) -> list[Reason]:
        """At most `limit` reasons for a triple: what was read first, then paths, shortest first."""
        read = self._read(head, relation, tail)[:limit]
        return [*read, *self._paths(head, relation, tail, limit - len(read))]

    def given(self, head: int, relation: int, tail: int) -> bool:
        """Whether a triple was given for training."""
        near = self.links.get(head)
        return near is not None and relation in near.get(tail, ())

    def _read(self, head: int, relation: int, tail: int) -> list[Reason]:
        row = self.rows.get((head, relation, tail))
        if row is None or self.table is None:
            return []
        table = self.table
        taken = self.taught and table.accepted[row] > 0
        p, p_text, p_graph, p_rules = (
            _number(column[row]) for column in (table.p, table.p_text, table.p_graph, table.p_rules)
        )
        if not taken and (p_text is None or p_text < LEAST_TEXT):
            return []
        id_, sentence = self._sentence(self.table.evidence[row])
        said = {"text": p_text, "graph": p_graph, "rules": p_rules}
        votes = [f"{n} {v:.2f}" for n, v in said.items() if v is not None]
        if (
            self.secrets is not None
            and sentence is not None
            and self.secrets.silences(id_, sentence)
        ):
            return []
        verb = "read, not accepted"
        if table.accepted[row] > 0:
            verb = "read and accepted" if self.taught else "read and accepted, but not learned"
        line = f"{verb} at {p or 0:.2f} ({', '.join(votes)})"
        if sentence is not None:
            line += f": “{sentence}”"
        kind = "accepted" if taken else "text"
        return [Reason(kind, line, sentence, p, p_text, p_graph, p_rules)]

    def sentence(self, evidence: str) -> str | None:
        """The sentence that an evidence id names; None where its text is gone."""
        return sentence(self.texts, evidence)

    def _sentence(self, evidence: list[str]) -> tuple[str, str | None]:
        found = ((name, self.sentence(name)) for name in evidence)
        return next(((name, text) for name, text in found if text is not None), ("", None))

    def _paths(self, head: int, relation: int, tail: int, limit: int) -> list[Reason]:
        if head == tail:
            return []
        none: dict[int, list[int]] = {}
        near_head, near_tail = self.links.get(head, none), self.links.get(tail, none)
        direct = [r for r in self._told(head, tail) if r != relation]
        lines = [path_line(self.graph, [head, tail], [r]) for r in direct]
        # Whoever has few neighbours says more: everybody is linked to "human".
        middle = heapq.nsmallest(
            limit - len(direct),
            (
                node
                for node in near_head.keys() & near_tail.keys() - {head, tail}
                if self.secrets is None or (self._told(head, node) and self._told(node, tail))
            ),
            key=lambda node: (len(self.links[node]), node),
        )
        for node in middle:
            first, second = self._told(head, node)[0], self._told(node, tail)[0]
            lines.append(path_line(self.graph, [head, node, tail], [first, second]))
        return [Reason("path", f"given: {line}") for line in lines[:limit]]

    def _told(self, start: int, end: int) -> Sequence[int]:
        """Relations from one neighbour to another that may be told; r + R where it goes back."""
        found = self.links.get(start, {}).get(end, [])
        if self.secrets is None:
            return found
        size, told = self.graph.num_relations, []
        for r in found:
            triple = (start, r, end) if r < size else (end, r - size, start)
            if not self.secrets.hides(*triple):
                told.append(r)
        return told


def path_line(graph: KnowledgeGraph, nodes: Sequence[int], relations: Sequence[int]) -> str:
    """A path in words, such as "Ada –born in→ Bonn ←lives in– Ben".

    Args:
        graph: names.
        nodes: entities along the path.
        relations: directed, between them; r + R is r read from tail to head.
    """
    line = graph.entity_label(nodes[0])
    for node, relation in zip(nodes[1:], relations, strict=True):
        backward, number = divmod(relation, graph.num_relations)
        name = graph.relation_label(number)
        end = graph.entity_label(node)
        line += f" ←{name}– {end}" if backward else f" –{name}→ {end}"
    return line


def sentence(texts: Mapping[str, str], evidence: str) -> str | None:
    """The characters that an evidence id names; None where its text is gone.

    Args:
        texts: text id -> text.
        evidence: `<text id>:<start>-<end>`.
    """
    text_id, _, span = evidence.rpartition(":")
    start, end = map(int, span.split("-"))
    return texts[text_id][start:end] if text_id in texts else None


def named(graph: KnowledgeGraph, head: int, relation: int, tail: int) -> dict[str, str]:
    """head, relation, tail as ids, and head_name, relation_name, tail_name as people call them."""
    return {
        "head": graph.entities[head],
        "relation": graph.relations[relation],
        "tail": graph.entities[tail],
        "head_name": graph.entity_label(head),
        "relation_name": graph.relation_label(relation),
        "tail_name": graph.entity_label(tail),
    }


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
