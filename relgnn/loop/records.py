"""A round on disk: candidates, sentences and posteriors as Parquet; events for the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from relgnn.data import KnowledgeGraph, Sentence
from relgnn.linkpred.reading import TextReader
from relgnn.loop.estep import Judgement
from relgnn.loop.pseudo import Pseudo
from relgnn.loop.verdicts import REVOKED
from relgnn.posterior.pu import Frequency
from relgnn.posterior.selectors import Accepted
from relgnn.training.checkpoint import atomic_file, load_json, save_text

MAX_EVIDENCE = 5
"""Sentences recorded for one pair."""


@dataclass(frozen=True)
class RoundTable:
    """A round's candidates as written, one row a triple.

    Args:
        triples: int64 [C, 3].
        p, p_text, p_graph, p_rules: float [C]; nan where a view has nothing to say.
        accepted: weight of each accepted triple, 0 for the others, [C].
        evidence: per row the ids of the sentences that speak of the pair.
        label_frequency: view -> c, of all relations or of each.
    """

    triples: np.ndarray
    p: np.ndarray
    p_text: np.ndarray
    p_graph: np.ndarray
    p_rules: np.ndarray
    accepted: np.ndarray
    evidence: list[list[str]]
    label_frequency: dict[str, Frequency]

    @property
    def pseudo(self) -> Pseudo:
        """The accepted triples, as sure as the views are of each."""
        taken = self.accepted > 0
        rows = self.triples[taken], self.accepted[taken], self.p_text[taken]
        return Pseudo(*rows, p=self.p[taken])

    def readers(self, num_entities: int, num_relations: int) -> dict[str, TextReader]:
        """What the candidates are judged by: `text` alone, and `all` views together."""
        judged = {"text": self.p_text, "all": self.p}
        return {
            name: TextReader(self.triples, p, num_entities, num_relations)
            for name, p in judged.items()
        }


def evidence_id(sentence: Sentence) -> str:
    """Name of a sentence: its text and its characters in it."""
    return f"{sentence.text_id}:{sentence.start}-{sentence.end}"


def write_round(
    folder: Path,
    graph: KnowledgeGraph,
    sentences: list[Sentence],
    judgement: Judgement,
    accepted: Accepted,
) -> None:
    """Write `candidates.parquet`, `sentences.parquet`, `posterior.parquet`, `calibration.json`.

    Args:
        folder: `rounds/<n>` of a run.
        graph: names ids.
        sentences: the corpus.
        judgement: what the E step found.
        accepted: what the selector took; positions in the judgement's rows.
    """
    found, posteriors, evidence = judgement.candidates, judgement.posteriors, judgement.evidence
    rows = _rows_by_pair(judgement)
    # Ids come from tab-separated files, so a tab never makes two pairs one.
    pair_id = [
        f"{graph.entities[h]}\t{graph.entities[t]}"
        for h, t in zip(found.head.tolist(), found.tail.tolist(), strict=True)
    ]
    # A pair may be spoken of on both pages, and each of its triples from one of them.
    ids: dict[str, dict[str, None]] = {}
    for pair, part in zip(pair_id, rows, strict=True):
        names = (evidence_id(sentences[evidence.sentence[r]]) for r in part)
        ids.setdefault(pair, {}).update(dict.fromkeys(names))
    candidates = pd.DataFrame(
        {
            "pair_id": pair_id,
            "head": [graph.entities[h] for h in found.head],
            "tail": [graph.entities[t] for t in found.tail],
            "evidence_ids": [list(ids[pair]) for pair in pair_id],
            "proposer": np.where(found.implied, "graph", "text"),
            "fold": found.fold,
        }
    ).drop_duplicates("pair_id")
    used = sorted({r for part in rows for r in part})
    spans = [sentences[evidence.sentence[r]] for r in used]
    table = pd.DataFrame(
        {
            "evidence_id": [evidence_id(s) for s in spans],
            "text_id": [s.text_id for s in spans],
            "start": [s.start for s in spans],
            "end": [s.end for s in spans],
            "head": [graph.entities[evidence.head[r]] for r in used],
            "tail": [graph.entities[evidence.tail[r]] for r in used],
            "head_span": [evidence.head_span[r].tolist() for r in used],
            "tail_span": [evidence.tail_span[r].tolist() for r in used],
            "text_sha256": [hashlib.sha256(s.text.encode()).hexdigest() for s in spans],
        }
    )
    calibrator = hashlib.sha256(json.dumps(judgement.report, sort_keys=True).encode()).hexdigest()
    weight = np.zeros(len(found))
    weight[accepted.index] = accepted.weight
    posterior = pd.DataFrame(
        {
            "pair_id": pair_id,
            "relation": [graph.relations[r] for r in found.relation],
            "p_text": posteriors.p_text,
            "p_graph": posteriors.p_graph,
            "p_rules": posteriors.p_rules,
            "p": posteriors.p,
            "weight": weight,
            "calibrator_id": calibrator[:16],
        }
    )
    frames = {"candidates": candidates, "sentences": table, "posterior": posterior}
    for name, frame in frames.items():
        with atomic_file(folder / f"{name}.parquet") as path:
            frame.to_parquet(path, index=False, compression="zstd")
    save_text(folder / "calibration.json", json.dumps(judgement.report))


def read_round(folder: Path, graph: KnowledgeGraph) -> RoundTable:
    """Read back what `write_round` wrote."""
    candidates = pd.read_parquet(folder / "candidates.parquet").set_index("pair_id")
    posterior = pd.read_parquet(folder / "posterior.parquet")
    report = load_json(folder / "calibration.json")
    entity = {name: i for i, name in enumerate(graph.entities)}
    relation = {name: i for i, name in enumerate(graph.relations)}
    ends = candidates.loc[posterior["pair_id"]]
    triples = np.stack(
        [
            ends["head"].map(entity).to_numpy(np.int64),
            posterior["relation"].map(relation).to_numpy(np.int64),
            ends["tail"].map(entity).to_numpy(np.int64),
        ],
        axis=1,
    )
    return RoundTable(
        triples,
        posterior["p"].to_numpy(float),
        posterior["p_text"].to_numpy(float),
        posterior["p_graph"].to_numpy(float),
        posterior["p_rules"].to_numpy(float),
        posterior["weight"].to_numpy(float),
        [list(ids) for ids in ends["evidence_ids"]],
        {view: entry["label_frequency"] for view, entry in report.items()},
    )


def ledger_events(
    graph: KnowledgeGraph,
    table: RoundTable,
    judgement: Judgement,
    accepted: Accepted,
    floor: float,
    connected: np.ndarray | None = None,
    told: np.ndarray | None = None,
) -> Iterator[dict[str, Any]]:
    """Events of a round: all that it taught or that was revoked, and rejected above `floor`.

    Args:
        graph: names ids.
        table: the round as written.
        judgement, accepted: the E step and the selector's word on its rows.
        floor: rejected candidates below it are in `posterior.parquet` only.
        connected: rows whose pairs join without a type, where they are not accepted themselves.
        told: rows that a memory learns with their posteriors.
    """
    joined = set() if connected is None else set(connected.tolist())
    learned = set() if told is None else set(told.tolist())
    posteriors = judgement.posteriors
    for row in np.argsort(-table.p, kind="stable"):
        taken = table.accepted[row] > 0
        untyped = not taken and row in joined
        revoked = accepted.reason[row] == REVOKED
        remembered = row in learned
        if not (taken or untyped or remembered or revoked) and table.p[row] < floor:
            continue
        said = (taken, untyped, remembered, revoked, True)
        decision = ("accepted", "connected", "told", REVOKED, "rejected")[said.index(True)]
        also = ("; its pair joins untyped" if untyped else "") + (
            "; told to the memory" if remembered else ""
        )
        head, relation, tail = table.triples[row].tolist()
        yield {
            "head": graph.entities[head],
            "relation": graph.relations[relation],
            "tail": graph.entities[tail],
            "evidence_ids": table.evidence[row],
            "p_text": posteriors.p_text[row],
            "p_graph": posteriors.p_graph[row],
            "p_rules": posteriors.p_rules[row],
            "p": posteriors.p[row],
            "decision": decision,
            "weight": table.p[row] if untyped or remembered else table.accepted[row],
            "reason": str(accepted.reason[row]) + also,
            "fold": posteriors.fold[row],
        }


def _rows_by_pair(judgement: Judgement) -> list[list[int]]:
    """For each candidate the evidence rows of its pair, surest kind first, a few at most."""
    evidence = judgement.evidence
    order = np.lexsort((evidence.sentence, evidence.kind, evidence.pair))
    starts = np.searchsorted(evidence.pair[order], np.arange(evidence.num_pairs + 1))
    return [
        order[starts[p] : min(starts[p + 1], starts[p] + MAX_EVIDENCE)].tolist()
        for p in judgement.candidates.pair.tolist()
    ]
