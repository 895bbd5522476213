"""A run folder as `run` leaves it, with made-up numbers, written by the real writers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from relgnn.config import make_config
from relgnn.data import KnowledgeGraph, load
from relgnn.loop.candidates import Candidates, pair_folds
from relgnn.loop.estep import Judgement
from relgnn.loop.ledger import Ledger
from relgnn.loop.records import ledger_events, read_round, write_round
from relgnn.posterior.calibration import calibration_report
from relgnn.posterior.selectors import Posteriors, PrecisionSelector
from relgnn.ranking.metrics import metrics_by_stratum, write_ranks
from relgnn.ranking.ranks import Ranks
from relgnn.ranking.strata import stratum_masks
from relgnn.runtime import environment
from relgnn.text.evidence import Evidence, PairFeatures, find_evidence
from relgnn.training import save_json

NASTY = "<script>alert('x')</script> & Co"
ROWS = {
    "round0": 1.0, "alltext": 0.97, "comention": 0.9, "shuffled": 1.02, "random_pairs": 1.1,
    "loop": 0.6, "round0+read": 0.5, "loop+read": 0.4, "oracle": 0.1,
}  # fmt: skip


def fake_graph() -> KnowledgeGraph:
    """The embedded graph at 10 %, every entity's name dangerous in HTML where it is shown."""
    graph = load("atlas").at_fraction(0.1, 0)
    names = tuple(
        f"{name} {NASTY}" if i % 40 == 0 else name for i, name in enumerate(graph.entity_names)
    )
    descriptions = tuple(NASTY for _ in names)
    return replace(graph, entity_names=names, entity_descriptions=descriptions)


def write_fake_run(folder: Path, graph: KnowledgeGraph, seed: int = 0) -> None:
    """Two rounds, every row, a ledger; `graph` is cut to 10 %."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config({"data": {"name": graph.name, "fraction": 0.1}, "loop": {"rounds": 2}})
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    save_json(folder / "environment.json", environment() | {"data": {graph.name: graph.checksum}})
    sentences, evidence = graph.sentences(), find_evidence(graph, graph.sentences())
    accepted = []
    table = None
    for number in (1, 2):
        judgement = _judgement(graph, evidence, random)
        taken = PrecisionSelector(0.7, 0.3).select(judgement.posteriors)
        where = folder / "rounds" / str(number)
        write_round(where, graph, sentences, judgement, taken)
        table = read_round(where, graph)
        events = list(ledger_events(graph, table, judgement, taken, 0.1))
        Ledger(folder / "ledger").append(number, events)
        accepted.append(table.pseudo)
    assert table is not None
    masks = stratum_masks(graph, "test")
    rows = {}
    for name, factor in ROWS.items():
        ranks = _ranks(graph, factor, random)
        rows[name] = metrics_by_stratum(ranks, masks)
        path = folder / "ranks" / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        write_ranks(path, ranks, graph.test, graph.entities, graph.relations)
    rounds = [{"round": 0, "accepted": 0, "connected": 0, "test": rows["round0"]}]
    for number, pseudo in enumerate(accepted, start=1):
        precision = {"accepted": len(pseudo), "promised": float(pseudo.weight.mean()), "real": 0.7}
        between = metrics_by_stratum(_ranks(graph, 1.2 - 0.3 * number, random), masks)
        entry = {"round": number, "accepted": len(pseudo), "connected": 0, "test": between}
        rounds.append(entry | {"precision": precision})
    rounds[-1]["test"] = rows["loop"]
    truth = (random.random(len(table.p)) < table.p).astype(float)
    save_json(
        folder / "metrics.json",
        {
            "rows": rows, "rounds": rounds, "test": rows["loop"], "extraction": {},
            "calibration": {"posterior": calibration_report(table.p, truth)},
            "seconds": 734.2, "peak_memory_mb": 2215.0,
        },
    )  # fmt: skip


def _judgement(graph: KnowledgeGraph, evidence: Evidence, random: np.random.Generator) -> Judgement:
    known = {tuple(t) for t in graph.filter_triples("test").tolist()}
    pair_of = {
        pair: row
        for row, pair in enumerate(
            zip(evidence.pair_head.tolist(), evidence.pair_tail.tolist(), strict=True)
        )
    }
    true = [t for t in sorted(known) if (t[0], t[2]) in pair_of]
    wrong = [
        (int(h), int(random.integers(graph.num_relations)), int(t))
        for h, t in zip(evidence.pair_head, evidence.pair_tail, strict=True)
    ]
    triples = np.unique(np.array(true + wrong), axis=0)
    size = len(triples)
    right = np.array([tuple(t) in known for t in triples.tolist()])
    p = random.beta(np.where(right, 3.0, 0.8), np.where(right, 1.5, 6.0))
    p_text = np.clip(p + random.normal(0, 0.15, size), 0.01, 0.99)
    p_text[random.random(size) < 0.1] = np.nan
    head, relation, tail = triples.T
    pair = np.array([pair_of[h, t] for h, t in zip(head.tolist(), tail.tolist(), strict=True)])
    fold = pair_folds(head, tail, 4)
    found = Candidates(head, relation, tail, pair, np.zeros(size), np.zeros(size, dtype=bool), fold)
    posteriors = Posteriors(
        head, relation, tail, p, p_text, np.clip(p + random.normal(0, 0.2, size), 0.01, 0.99),
        np.full(size, np.nan), fold,
    )  # fmt: skip
    # what was read is not written, so that it may be empty
    none = torch.zeros(0)
    features = PairFeatures(*(none for _ in PairFeatures.__dataclass_fields__))
    return Judgement(found, posteriors, evidence, features, {})


def _ranks(graph: KnowledgeGraph, factor: float, random: np.random.Generator) -> dict[str, Ranks]:
    size = len(graph.test)
    assert graph.strata is not None
    hard = 0.4 + 0.3 * graph.strata["test"]
    sides = {}
    for offset, side in enumerate(("head", "tail")):
        start = np.random.default_rng(offset).exponential(size=size) * 2.2
        rank = np.exp(start * hard * factor**0.5 * random.choice([0.7, 1, 1, 1.2], size))
        rank = np.minimum(np.floor(rank).astype(np.int64), graph.num_entities)
        sides[side] = Ranks(rank, rank, np.full(size, graph.num_entities))
    return sides
