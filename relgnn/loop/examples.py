"""Examples for the report: judged triples with their sentence, each view's vote and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from relgnn.data import KnowledgeGraph
from relgnn.loop.ledger import Ledger

Span = tuple[int, int, str]
"""Characters [start, end) and what they name: "head" or "tail"."""


@dataclass(frozen=True)
class Example:
    """One judged triple as a reader sees it.

    Attributes:
        head, relation, tail: names.
        sentence: with mentions in `<mark>`; None where no sentence speaks of the pair.
        place: where the sentence is from.
        votes: view -> probability, None where the view is silent.
        p: the posterior.
        reason: of the decision.
        truth: what the whole data set says.
        known: whether the whole data set holds the triple.
        named: whether the sentence names the tail or the page is about it.
    """

    head: str
    relation: str
    tail: str
    sentence: Markup | None
    place: str
    votes: dict[str, float | None]
    p: float
    reason: str
    truth: str
    known: bool
    named: bool


class Judged:
    """The events of a round with what is needed to show them.

    Args:
        folder: the run.
        graph: cut to the run's fraction.
        round_: the round.
    """

    def __init__(self, folder: Path, graph: KnowledgeGraph, round_: int) -> None:
        self.graph = graph
        self.events = Ledger(folder / "ledger").read(round_)
        self._names = {
            "entity": _names(graph.entities, graph.entity_names),
            "relation": _names(graph.relations, graph.relation_names),
        }
        self._texts = {text.id: text for text in graph.texts}
        spans = pd.read_parquet(folder / "rounds" / str(round_) / "sentences.parquet")
        self._spans: dict[tuple[str, frozenset[str]], dict[str, tuple[int, int]]] = {}
        for row in spans.itertuples(index=False):
            found = {row.head: tuple(row.head_span), row.tail: tuple(row.tail_span)}
            self._spans[row.evidence_id, frozenset((row.head, row.tail))] = found

    def accepted(self, count: int) -> list[Example]:
        """Accepted triples that were judged, evenly spaced from the surest to the least sure."""
        events = [e for e in self.events if e["decision"] == "accepted" and e["p"] is not None]
        return [self._example(e) for e in _spread(_by_p(events), count)]

    def rejected(self, count: int) -> list[Example]:
        """Triples that were not accepted, of every reason, evenly spaced by posterior."""
        reasons: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            if event["decision"] != "accepted" and event["p"] is not None:
                reasons.setdefault(event["reason"], []).append(event)
        picked: list[dict[str, Any]] = []
        # Rare reasons first, so that what they cannot fill goes to the others.
        groups = sorted(reasons.values(), key=len)
        for left, events in zip(range(len(groups), 0, -1), groups, strict=True):
            picked += _spread(_by_p(events), -(-(count - len(picked)) // left))
        return [self._example(e) for e in _by_p(picked)]

    @cached_property
    def _known(self) -> dict[tuple[str, str, str], str]:
        """Where the whole data set holds a triple: only to report, never to decide."""
        graph = self.graph
        return {
            graph.ids(triple): split
            for split in ("train", "hidden", "valid", "test")
            for triple in getattr(graph, split).tolist()
        }

    def _example(self, event: dict[str, Any]) -> Example:
        triple = (event["head"], event["relation"], event["tail"])
        sentence, place, named = self._evidence(event)
        split = self._known.get(triple)
        return Example(
            self._names["entity"][triple[0]],
            self._names["relation"][triple[1]],
            self._names["entity"][triple[2]],
            sentence,
            place,
            {view: event[f"p_{view}"] for view in ("text", "graph", "rules")},
            event["p"],
            event["reason"],
            _TRUTH[split],
            split is not None,
            named,
        )

    def _evidence(self, event: dict[str, Any]) -> tuple[Markup | None, str, bool]:
        head, tail = event["head"], event["tail"]
        for evidence_id in event["evidence_ids"]:
            text_id, _, place = evidence_id.rpartition(":")
            text = self._texts.get(text_id)
            if text is None:
                continue
            start, end = map(int, place.split("-"))
            found = self._spans.get((evidence_id, frozenset((head, tail))), {})
            spans: list[Span] = [
                (*found[entity], role)
                for entity, role in ((head, "head"), (tail, "tail"))
                if entity in found and found[entity][0] >= 0
            ]
            page = "" if text.entity is None else self.graph.entities[text.entity]
            seen = {role for *_, role in spans} | {
                role for entity, role in ((head, "head"), (tail, "tail")) if entity == page
            }
            where = f"page of {self._names['entity'][page]}" if page else f"text {text_id}"
            return highlight(text.text[start:end], spans), where, seen == {"head", "tail"}
        return None, "", False


_TRUTH = {
    "train": "true: given",
    "valid": "true: in valid",
    "hidden": "true: was hidden",
    "test": "true: a test triple",
    None: "not in the data set: unknown",
}


def highlight(sentence: str, spans: Sequence[Span]) -> Markup:
    """The sentence as safe HTML with a `<mark>` around each span; overlapping later ones go."""
    out, position = Markup(), 0
    for start, end, role in sorted(spans):
        if position <= start < end <= len(sentence):
            out += escape(sentence[position:start])
            out += Markup('<mark class="{}">{}</mark>').format(role, sentence[start:end])
            position = end
    return out + escape(sentence[position:])


def _names(ids: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    return {one: name or one for one, name in zip(ids, names, strict=True)}


def _by_p(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda e: (-e["p"], e["head"], e["relation"], e["tail"]))


def _spread(events: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` of the events at even distances, first and last among them."""
    if count <= 0:
        return []
    places = np.unique(np.linspace(0, len(events) - 1, min(count, len(events))).round())
    return [events[int(i)] for i in places]
