"""What stands between a run's statements and whoever asks: withholds, and says what to note."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from relgnn.audit.policy import Applied, Policy
from relgnn.audit.queue import Queue, Withheld
from relgnn.data import KnowledgeGraph
from relgnn.errors import InputError, RelgnnError
from relgnn.loop.records import RoundTable
from relgnn.text.linking import MentionLinker

STATED = 0.1
"""Probability by the text alone from which a sentence counts as stating a triple."""
Numbers = tuple[int, int, int]
"""Head, relation, tail; the graph's numbers."""


def numbers_of(row: Sequence[int] | np.ndarray) -> Numbers:
    """A triple of numbers as one that can be looked up."""
    head, relation, tail = (int(number) for number in row)
    return head, relation, tail


class Private(InputError):
    """Somebody asked for a statement that is withheld."""


class Guard:
    """Tells which triples and texts of a run may be shown.

    Args:
        policy: what is private or harmful; None lets everything pass.
        graph: of the run.
        queue: what people released.
        table: what the run's last round judged. A sentence that speaks of several pairs, or says
            several things of one, is not shown while a triple that it likely states is withheld: a
            candidate that the round found in it, or a given one both of whose ends it names.
    """

    def __init__(
        self,
        policy: Policy | None,
        graph: KnowledgeGraph,
        queue: Queue,
        table: RoundTable | None = None,
    ) -> None:
        self.graph, self.queue = graph, queue
        self.applied = Applied(policy, graph) if policy is not None else None
        self._stated: dict[str, list[Numbers]] = defaultdict(list)
        if self.applied is not None and table is not None:
            said = (table.accepted > 0) | (np.nan_to_num(table.p_text) >= STATED)
            for row in np.flatnonzero(said).tolist():
                head, relation, tail = table.triples[row].tolist()
                if self.applied.category(head, relation, tail) is not None:
                    for evidence in table.evidence[row]:
                        self._stated[evidence].append((head, relation, tail))
        self._given: dict[int, list[Numbers]] = defaultdict(list)
        if self.applied is not None:
            for triple in map(numbers_of, self.applied.among(graph.train)):
                self._given[triple[0]].append(triple)
        ends = sorted({end for own in self._given.values() for h, _, t in own for end in (h, t)})
        self._ends = np.array(ends, dtype=np.int64)
        aliases = [graph.aliases[end] for end in ends] if graph.aliases else None
        names = [graph.entity_names[end] for end in ends]
        # however many share a name, it is theirs
        self._linker = MentionLinker(names, aliases, limit=len(names))
        self._subject = {text.id: text.entity for text in graph.texts}

    def category(self, triple: Numbers) -> str | None:
        """Why a triple is withheld; None where it may be shown, or was released."""
        found = self.applied.category(*triple) if self.applied is not None else None
        return None if found is not None and self._released(triple) else found

    def hides(self, head: int, relation: int, tail: int) -> bool:
        """Whether a triple is withheld."""
        return self.category((head, relation, tail)) is not None

    def unfit(self, text: str) -> bool:
        """Whether a sentence or a description is not shown."""
        return self.applied is not None and self.applied.policy.unfit(text)

    def silences(self, evidence: str, text: str) -> bool:
        """Whether a sentence that a round read is not shown: for its words, or what it states."""
        stated = (*self._stated.get(evidence, ()), *self._named(evidence, text))
        return self.unfit(text) or any(self.hides(*one) for one in stated)

    def _named(self, evidence: str, text: str) -> list[Numbers]:
        """Given triples that are private and both of whose ends a sentence names.

        Whom its page is about counts as named.
        """
        if not self._given:
            return []
        named = {int(self._ends[one.entity]) for one in self._linker.link(text)}
        subject = self._subject.get(evidence.rpartition(":")[0])
        if subject is not None:
            named.add(subject)
        return [one for end in named for one in self._given.get(end, ()) if one[2] in named]

    def withheld(
        self, route: str, found: Iterable[tuple[Numbers, float | None]]
    ) -> dict[Numbers, Withheld]:
        """Those of some triples, with their probabilities, that are withheld.

        Args:
            route: where somebody would get them.
            found: the triples.
        """
        held = {}
        for triple, p in found:
            category = self.category(triple)
            if category is not None:
                held[triple] = Withheld(self.graph.ids(triple), category, route, p)
        return held

    def _released(self, triple: Numbers) -> bool:
        try:
            return self.graph.ids(triple) in self.queue.released()
        except RelgnnError:
            return False  # what a damaged log releases is not known
