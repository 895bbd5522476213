"""Pages of the ledger: what a run read, what it decided, what people said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from relgnn.data.lookup import find_entity, find_relation
from relgnn.loop.history import VIEWS, History
from relgnn.loop.verdicts import Triple, triple_of
from relgnn.loop.why import Secrets
from relgnn.serving import schemas
from relgnn.serving.damage import own_files

TRIPLE = ("head", "relation", "tail")
KEPT = (*TRIPLE, *VIEWS, "decision", "weight", "reason", "evidence_ids")
"""Columns of an event that a page shows."""


class LedgerPages:
    """The last round's events, held in memory, and the verdicts of now.

    Args:
        history: of the run; its hashes are verified.
        secrets: what is left out.
    """

    def __init__(self, history: History, secrets: Secrets) -> None:
        self.history, self.secrets = history, secrets
        graph = history.graph
        self._entities = {one: number for number, one in enumerate(graph.entities)}
        self._relations = {one: number for number, one in enumerate(graph.relations)}
        rounds = history.ledger.rounds
        self.round = rounds[-1] if rounds else 0
        found = history.ledger.read(self.round) if rounds else []
        self._events = [{name: event[name] for name in KEPT} for event in found]
        self._there = {triple_of(event) for event in self._events}

    def page(self, asked: schemas.Browse, hint: str) -> dict[str, Any]:
        """Some of the events, in the ledger's order: surest first.

        Triples that a person spoke of and no round judged come before them.

        Args:
            asked: what is wanted.
            hint: see `find_entity`.

        Raises:
            InputError: an id or name is unknown.
            MachineError: the file of verdicts is damaged.
        """
        graph = self.history.graph
        entity = asked.entity and graph.entities[find_entity(graph, asked.entity, hint)]
        relation = asked.relation and graph.relations[find_relation(graph, asked.relation, hint)]
        last = self.said()
        found = [
            event
            for event in self._all(last)
            if (asked.decision is None or event["decision"] == asked.decision)
            and (asked.verdict is None or last.get(triple_of(event), "none") == asked.verdict)
            and (entity is None or entity in (event["head"], event["tail"]))
            and (relation is None or event["relation"] == relation)
            and not self._hidden(triple_of(event))
        ]
        shown = found[asked.offset : asked.offset + asked.limit]
        events = [self._shown(event, last.get(triple_of(event))) for event in shown]
        return {"round": self.round, "total": len(found), "events": events}

    def said(self) -> dict[Triple, str]:
        """What people said last of triples, by ids, as of now.

        Raises:
            MachineError: the file of verdicts is damaged.
        """
        with own_files():
            verdicts = self.history.ledger.verdicts()
        return {triple_of(one): one["verdict"] for one in verdicts}

    def _all(self, last: Mapping[Triple, str]) -> Iterator[dict[str, Any]]:
        silent = dict.fromkeys((*VIEWS, "decision", "reason")) | {"weight": 0.0, "evidence_ids": []}
        for triple in last:
            if triple not in self._there:
                yield dict(zip(TRIPLE, triple, strict=True)) | silent
        yield from self._events

    def _hidden(self, triple: Triple) -> bool:
        head, relation, tail = triple
        number = self._relations.get(relation)
        if number is None:  # of pairs that joined untyped
            return False
        return self.secrets.hides(self._entities[head], number, self._entities[tail])

    def _shown(self, event: Mapping[str, Any], verdict: str | None) -> dict[str, Any]:
        """An event with names, sentences and the last verdict."""
        plain = {name: event[name] for name in KEPT if name not in ("evidence_ids", *TRIPLE)}
        sentences = [
            one
            for one in self.history.evidence(event["evidence_ids"])
            if one["text"] is None or not self.secrets.silences(str(one["id"]), one["text"])
        ]
        named = self.history.named(triple_of(event))
        return plain | named | {"sentences": sentences, "verdict": verdict}
