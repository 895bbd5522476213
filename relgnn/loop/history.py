"""A run's ledger beside its graph: names, sentences, every triple's history, what is taught now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from relgnn.data import KnowledgeGraph
from relgnn.data.lookup import find_entity, find_relation
from relgnn.errors import InputError
from relgnn.loop.ledger import Ledger
from relgnn.loop.opened import run_config, run_graph
from relgnn.loop.rounds import LEDGER_FLOOR
from relgnn.loop.verdicts import (
    ACCEPTED,
    REVOKED,
    Triple,
    Verdicts,
    counts,
    given_in,
    numbers,
    triple_of,
)
from relgnn.loop.why import sentence
from relgnn.training import load_json

VIEWS = ("p_text", "p_graph", "p_rules", "p")


class History:
    """The ledger of a run, finished or not, with what makes it readable.

    Args:
        folder: of the run.
        graph: of the run, where it is at hand.

    Raises:
        InputError: it is no run folder or has no loop, its data are gone or changed, or the ledger
            was changed.
    """

    def __init__(self, folder: Path, graph: KnowledgeGraph | None = None) -> None:
        folder = Path(folder)
        config = run_config(folder)
        if config.loop is None:
            raise InputError(f"{folder}: was trained without a loop, so that it has no ledger")
        self.folder, self.graph = folder, graph or run_graph(config, folder)
        self.ledger = Ledger(folder / "ledger")
        self.ledger.verify()
        self._texts = {text.id: text.text for text in self.graph.texts}

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdicts of now that change anything."""
        return Verdicts.of(self.ledger.verdicts(), self.graph)

    @cached_property
    def round(self) -> int:
        """The round whose model is the run's; of a run under way the last that is recorded."""
        metrics = self.folder / "metrics.json"
        found = load_json(metrics) if metrics.is_file() else {}
        if "round" in found:
            return int(found["round"])
        listed = [entry["round"] for entry in found.get("rounds", ())] or self.ledger.rounds
        return int(listed[-1]) if listed else 0

    @property
    def next_round(self) -> int:
        """The first that can hear a new verdict."""
        return self.ledger.rounds[-1] + 1 if self.ledger.rounds else 1

    def find(self, head: str, relation: str, tail: str) -> Triple:
        """Ids of what is written as ids or exact names.

        Raises:
            InputError: one is unknown, or several share the name.
        """
        graph = self.graph
        return (
            graph.entities[find_entity(graph, head)],
            graph.relations[find_relation(graph, relation)],
            graph.entities[find_entity(graph, tail)],
        )

    def named(self, triple: Triple) -> dict[str, str]:
        """head, relation, tail, and head_name, relation_name, tail_name."""
        entities, relations = self._names
        head, relation, tail = triple
        return {
            "head": head,
            "relation": relation,
            "tail": tail,
            "head_name": entities[head],
            "relation_name": relations[relation],
            "tail_name": entities[tail],
        }

    def events(self, round_: int | None = None) -> list[dict[str, Any]]:
        """A round's events as recorded, each with names and `verdict`, the last one on its triple.

        Args:
            round_: by default the last one.

        Raises:
            InputError: the round is not recorded.
        """
        rounds = self.ledger.rounds
        if not rounds:
            return []
        if round_ is not None and round_ not in rounds:
            raise InputError(
                f"--round {round_}: is not recorded in {self.folder}; give one of "
                f"{', '.join(map(str, rounds))}"
            )
        last = {triple_of(line): line["verdict"] for line in self.ledger.verdicts()}
        return [
            event | self.named(triple_of(event)) | {"verdict": last.get(triple_of(event))}
            for event in self.ledger.read(rounds[-1] if round_ is None else round_)
        ]

    def evidence(self, ids: Sequence[str]) -> list[dict[str, str | None]]:
        """`id` and `text` of sentences; None for one whose text is gone."""
        return [{"id": one, "text": sentence(self._texts, one)} for one in ids]

    def why(self, triple: Triple) -> dict[str, Any]:
        """Everything that is known of one triple.

        Returns:
            Its ids and names; `rounds`: for each the views' votes, p, decision, weight, reason and
            evidence, decision None where the triple was no candidate; `verdicts`: time, verdict,
            by, and reason where one was given; `state`: see `standing`.
        """
        verdicts = [line for line in self.ledger.verdicts() if triple_of(line) == triple]
        columns = ("time", "verdict", "by", "reason")
        return self.named(triple) | {
            "rounds": [self._judged(number, triple) for number in self.ledger.rounds],
            "verdicts": [{k: line[k] for k in columns if k in line} for line in verdicts],
            "state": self.standing(triple),
        }

    def standing(self, triple: Triple) -> dict[str, Any]:
        """Where a triple stands now.

        Returns:
            `decision`: "given", "accepted", "revoked" or "not accepted"; `split` that it is given
            in, or None; `weight`; `pending`: whether the run's model does not know it yet.
        """
        split = given_in(self.graph, numbers(self.graph, [triple]))[0]
        held = self.ledger.held(self.round).get(triple)
        weight = self._weights.get(triple, 0.0)
        decision = "accepted" if weight else "not accepted"
        pending = triple in self.verdicts.accept and held != "accepted"
        if triple in self.verdicts.reject:
            decision, pending = REVOKED, held is not None
        elif split and not weight:
            decision = "given"
        return {
            "decision": decision, "split": split or None, "weight": weight, "pending": pending,
        }  # fmt: skip

    def state(self) -> list[dict[str, Any]]:
        """What the next round starts from: accepted triples, after the verdicts, surest first.

        Returns:
            For each its ids and names, `weight`, `p`, `round` (None where only a verdict accepts
            it so far), `reason`, `evidence_ids` and `sentences`.
        """
        events = {triple_of(e): e for e in self.ledger.read(self.round)} if self.round else {}
        rows = []
        for triple, weight in self._weights.items():
            event = events.get(triple, {})
            taken = event.get("decision") == "accepted"
            ids = event.get("evidence_ids", [])
            said = triple in self.verdicts.accept
            rows.append(
                self.named(triple)
                | {
                    "weight": weight,
                    "p": event.get("p"),
                    "round": event["round"] if taken else None,
                    "reason": ACCEPTED if said else event["reason"],
                    "evidence_ids": ids,
                    "sentences": [one["text"] for one in self.evidence(ids)],
                }
            )
        return sorted(rows, key=lambda row: (-row["weight"], *triple_of(row)))

    def add(self, lines: Sequence[Mapping[str, str]]) -> tuple[int, list[Mapping[str, str]]]:
        """Record verdicts, all or none.

        Args:
            lines: as of `Ledger.add_verdicts`; heads, relations and tails are ids of the graph.

        Returns:
            How many were new; and those of all lines that change nothing, because their triple is
            given.

        Raises:
            MachineError: they cannot be written.
        """
        new = self.ledger.unheard(lines)
        if new:
            self.ledger.add_verdicts(new)
        splits = given_in(self.graph, numbers(self.graph, [triple_of(line) for line in lines]))
        idle = [
            line for line, split in zip(lines, splits, strict=True)
            if not counts(line["verdict"], split)
        ]  # fmt: skip
        return len(new), idle

    @cached_property
    def _names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Names of entities and relations by id."""
        graph = self.graph
        entities = {one: graph.entity_label(i) for i, one in enumerate(graph.entities)}
        relations = {one: graph.relation_label(i) for i, one in enumerate(graph.relations)}
        return entities, relations

    @cached_property
    def _weights(self) -> dict[Triple, float]:
        return self.verdicts.replay(self.ledger.accepted(self.round))

    def _judged(self, number: int, triple: Triple) -> dict[str, Any]:
        for event in self.ledger.read(number):
            if triple_of(event) == triple:
                names = ("round", "time", *VIEWS, "decision", "weight", "reason")
                kept = {name: event[name] for name in names}
                return kept | {"evidence": self.evidence(event["evidence_ids"])}
        silent = {"round": number, "time": None, **dict.fromkeys(VIEWS), "weight": 0.0}
        row = self._below_floor(number, triple)
        if row is None:
            return silent | {"decision": None, "reason": "was no candidate", "evidence": []}
        reason = f"below the ledger's floor of {LEDGER_FLOOR:g}"
        return silent | row | {"decision": "rejected", "reason": reason}

    def _below_floor(self, number: int, triple: Triple) -> dict[str, Any] | None:
        """What a round's tables say of a candidate that the ledger leaves out."""
        folder = self.folder / "rounds" / str(number)
        head, relation, tail = triple
        pair = ("pair_id", "==", f"{head}\t{tail}")
        found = pd.read_parquet(
            folder / "posterior.parquet", filters=[pair, ("relation", "==", relation)]
        )
        if found.empty:
            return None
        votes = {name: found[name].iloc[0] for name in VIEWS}
        ids = pd.read_parquet(folder / "candidates.parquet", filters=[pair])["evidence_ids"].iloc[0]
        return {k: None if v is None or np.isnan(v) else float(v) for k, v in votes.items()} | {
            "evidence": self.evidence(list(ids))
        }
