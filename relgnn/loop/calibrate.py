"""From a predictor's score to a probability, for any triple that a user may ask about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relgnn.data import KnowledgeGraph, is_in
from relgnn.linkpred.fit import Fitted
from relgnn.loop.candidates import graph_log_probabilities
from relgnn.posterior.calibration import PlattCalibrator, calibration_report
from relgnn.runtime import rng

NEGATIVES = 50
"""Corrupted triples for each valid one."""
FOLDS = 5
"""Parts of valid, each of which is reported on by what the others fit."""


def score_calibration(
    fitted: Fitted, graph: KnowledgeGraph, taught: np.ndarray | None = None
) -> dict[str, Any] | None:
    """Platt scaling of log P(t | h, r) + log P(h | r, t), fitted on what the model was not taught.

    These are the valid triples, but for those that the loop accepted from text (`taught`), which
    are left out, as are corruptions that it accepted. Where it accepted every valid triple, they
    are all that there is: the calibrator is fitted on them, is too sure, and nothing is reported.
    Valid has selected the model, which makes its triples a little likelier than others.

    Every valid triple stands against `NEGATIVES` corruptions of its tail and of its head, drawn
    from the entities seen in that place of the relation. So the probability answers "true, or a
    random answer of the right kind?" at even odds.

    Args:
        fitted: the predictor.
        graph: the data.
        taught: int64 [A, 3], what the predictor was taught besides the given triples, if anything.

    Returns:
        `calibrator`; `report` of each part of these triples, with its corruptions, by one that the
        other parts fit, None where there are too few; `triples`, how many of valid they are. All
        as JSON; None where there is no valid triple, or no false one.
    """
    wrong, source = _corrupted(graph, "valid", rng("score calibration", 0), (0, 2), NEGATIVES)
    triples = np.concatenate([graph.valid, wrong])
    source = np.concatenate([np.arange(len(graph.valid)), source])
    learned = is_in(triples, np.zeros((0, 3)) if taught is None else taught)
    kept = ~learned & ~learned[source]
    true = np.arange(len(triples)) < len(graph.valid)
    untaught = int((true & kept).sum())
    if not untaught or not (kept & ~true).any():
        kept, untaught = np.ones(len(triples), dtype=bool), 0
    triples, true, source = triples[kept], true[kept], source[kept]
    if true.all() or not true.any():
        return None
    scores = raw_scores(fitted, triples)
    return {
        "calibrator": _platt(scores, true).to_json(),
        "report": _out_of_fold(scores, true, source) if untaught else None,
        "triples": untaught,
    }


def _platt(scores: np.ndarray, true: np.ndarray) -> PlattCalibrator:
    """At even odds: all true triples weigh as much as all false ones."""
    weights = np.where(true, 1.0, true.sum() / (~true).sum())
    return PlattCalibrator().fit(scores, true.astype(float), weights)


def _out_of_fold(scores: np.ndarray, true: np.ndarray, source: np.ndarray) -> dict[str, Any] | None:
    """The report of probabilities by calibrators that have not seen what they judge.

    Args:
        scores: float [C].
        true: bool [C].
        source: int64 [C], the valid triple that each is or is made from: they share a fold.
    """
    fold = np.unique(source, return_inverse=True)[1] % FOLDS
    p = np.empty(len(scores))
    for k in np.unique(fold):
        others = fold != k
        if true[others].all() or not true[others].any():
            return None
        p[~others] = _platt(scores[others], true[others])(scores[~others])
    # Reported at the odds it is fitted for: each valid triple as often as its corruptions.
    copies = max(1, round((~true).sum() / true.sum()))
    even = np.repeat(np.arange(len(true)), np.where(true, copies, 1))
    return calibration_report(p[even], true[even].astype(float))


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
    return _corrupted(graph, split, generator, columns, count)[0]


def _corrupted(
    graph: KnowledgeGraph,
    split: str,
    generator: np.random.Generator,
    columns: Sequence[int],
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`corruptions` [C, 3], and the row of the split that each is made from, int64 [C]."""
    known = {tuple(t) for t in graph.filter_triples(split).tolist()}
    # sorted once: a search of train for every triple would be quadratic
    by_relation = graph.train[np.argsort(graph.train[:, 1], kind="stable")]
    starts = np.searchsorted(by_relation[:, 1], np.arange(graph.num_relations + 1))
    found, source = [], []
    for column in columns:
        for row, triple in enumerate(getattr(graph, split).tolist()):
            same = by_relation[starts[triple[1]] : starts[triple[1] + 1], column]
            pool = same if len(same) else np.arange(graph.num_entities)
            for entity in generator.choice(pool, count):
                other = list(triple)
                other[column] = int(entity)
                if tuple(other) not in known:
                    found.append(other)
                    source.append(row)
    return np.array(found, dtype=np.int64).reshape(-1, 3), np.array(source, dtype=np.int64)
