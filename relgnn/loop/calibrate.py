"""From a predictor's score to a probability, for any triple that a user may ask about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.linkpred.fit import Fitted
from relgnn.loop.candidates import graph_log_probabilities
from relgnn.posterior.calibration import PlattCalibrator, calibration_report
from relgnn.runtime import rng

NEGATIVES = 50
"""Corrupted triples for each valid one."""


def score_calibration(fitted: Fitted, graph: KnowledgeGraph) -> dict[str, Any] | None:
    """Platt scaling of log P(t | h, r) + log P(h | r, t), fitted on given triples held out: valid.

    Every valid triple stands against `NEGATIVES` corruptions of its tail and of its head, drawn
    from the entities seen in that place of the relation. So the probability answers "true, or a
    random answer of the right kind?" at even odds.

    Returns:
        The calibrator and its report as JSON; None where there is no valid triple, or no false one.
    """
    if not len(graph.valid):
        return None
    wrong = corruptions(graph, "valid", rng("score calibration", 0))
    if not len(wrong):
        return None
    triples = np.concatenate([graph.valid, wrong])
    labels = np.concatenate([np.ones(len(graph.valid)), np.zeros(len(wrong))])
    weights = np.where(labels == 1, 1.0, len(graph.valid) / len(wrong))
    scores = raw_scores(fitted, triples)
    calibrator = PlattCalibrator().fit(scores, labels, weights)
    # Reported at the odds it is fitted for: each valid triple as often as its corruptions.
    copies = max(1, round(len(wrong) / len(graph.valid)))
    even = np.repeat(np.arange(len(labels)), np.where(labels == 1, copies, 1))
    return {
        "calibrator": calibrator.to_json(),
        "report": calibration_report(calibrator(scores)[even], labels[even]),
    }


def raw_scores(fitted: Fitted, triples: np.ndarray) -> np.ndarray:
    """log P(t | h, r) + log P(h | r, t) [C]."""
    total: np.ndarray = graph_log_probabilities(fitted.model, fitted.graph, triples).sum(1)
    return total


def corruptions(
    graph: KnowledgeGraph,
    split: str,
    generator: np.random.Generator,
    columns: Sequence[int] = (0, 2),
    count: int = NEGATIVES,
) -> np.ndarray:
    """Triples [C, 3] of a split with another end, seen in that place of the relation; all unknown.

    Args:
        graph: the data.
        split: "valid" or "test".
        generator: draws.
        columns: ends to replace in turn, 0 the head and 2 the tail.
        count: draws of each end.
    """
    known = {tuple(t) for t in graph.filter_triples(split).tolist()}
    found = []
    for column in columns:
        for triple in getattr(graph, split).tolist():
            same = graph.train[graph.train[:, 1] == triple[1]][:, column]
            pool = same if len(same) else np.arange(graph.num_entities)
            for entity in generator.choice(pool, count):
                other = list(triple)
                other[column] = int(entity)
                if tuple(other) not in known:
                    found.append(other)
    return np.array(found, dtype=np.int64).reshape(-1, 3)
