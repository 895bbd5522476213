"""Runs of the loop on the toy world."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.loop.ledger import Ledger
from relgnn.loop.world import World
from relgnn.posterior.selectors import Posteriors
from tests.linkpred.toy import RUNTIME, HashEncoder, toy_config, toy_graph

LOOP = (
    "loop.folds=2", "loop.rounds=2", "loop.candidates=1000", "loop.implied=40",
    "loop.precision=0.3", "loop.min_probability=0.05", "loop.extractor.max_candidates=0",
)  # fmt: skip


def toy_world(
    *overrides: str,
    graph: KnowledgeGraph | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> World:
    """A world in which every step takes a moment."""
    config = toy_config(*LOOP, *overrides)
    return World(config, RUNTIME, graph or toy_graph(), HashEncoder(), folder, resume)


def posteriors(triples: np.ndarray, p: np.ndarray, fold: np.ndarray) -> Posteriors:
    """Both views say what the posterior says."""
    silent = np.full(len(p), np.nan)
    head, relation, tail = np.array(triples).T
    return Posteriors(head, relation, tail, p, p, p, silent, fold)


def add_verdict(ledger: Ledger, head: str, relation: str, tail: str, verdict: str, by: str) -> None:
    """Record one person's word on a triple."""
    cells = (head, relation, tail, verdict, by)
    columns = ("head", "relation", "tail", "verdict", "by")
    ledger.add_verdicts([dict(zip(columns, cells, strict=True))])
