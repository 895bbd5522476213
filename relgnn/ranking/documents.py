"""Scores of the relations of every pair of a document's entities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from relgnn.data.documents import Document
from relgnn.ranking.extraction import f1_of_counts


def facts_of(documents: Sequence[Document], labels: int) -> Tensor:
    """Which relations hold of every ordered pair of entities, bool [pairs, labels]."""
    found = torch.zeros(sum(len(one.pairs) for one in documents), labels, dtype=torch.bool)
    start = 0
    for one in documents:
        several = len(one.entities)
        for head, tail, label in one.facts:
            found[start + head * (several - 1) + tail - (tail > head), label] = True
        start += several * (several - 1)
    return found


def best_cut(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """The score from which on to say that a relation holds, by micro-F1, and that F1.

    Scores and truth are [pairs, R]; a score of -inf is never said to hold.
    """
    values, hits, said = _cuts(scores, truth)
    if not len(values):
        return float("inf"), 0.0
    f1 = 2 * hits / (said + int(truth.sum()))
    best = int(f1.argmax())
    return float(values[best]), float(f1[best])


def _cuts(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every finite score, the highest first; how many true ones, and how many in all, reach it."""
    flat, holds = scores.flatten(), truth.flatten()
    ranked = torch.argsort(flat, descending=True, stable=True)[: int(torch.isfinite(flat).sum())]
    values, hits = flat[ranked], holds[ranked].cumsum(0)
    said = torch.arange(1, len(ranked) + 1)
    # equal scores go together: only the last of them is a place to cut
    last = torch.ones(len(ranked), dtype=torch.bool)
    last[:-1] = values[1:] != values[:-1]
    return values[last], hits[last], said[last]


def document_scores(scores: Tensor, truth: Tensor, cut: float) -> dict[str, float]:
    """Micro-F1, precision, recall and average precision over all pairs and relations.

    Without the training facts of DocRED there is no Ign-F1, which leaves out those.
    """
    said = scores >= cut
    hits, claims, facts = (int(x.sum()) for x in (said & truth, said, truth))
    return {
        "micro_f1": f1_of_counts(hits, claims, facts),
        "precision": hits / max(1, claims),
        "recall": hits / max(1, facts),
        "average_precision": ranked_precision(scores, truth),
    }


def ranked_precision(scores: Tensor, truth: Tensor) -> float:
    """Area under the precision-recall steps; facts with a score of -inf are never recalled."""
    _, hits, said = _cuts(scores, truth)
    new = hits.diff(prepend=hits.new_zeros(1))
    return float((new * hits / said).sum() / max(1, int(truth.sum())))
