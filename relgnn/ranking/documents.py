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
    flat, holds = scores.flatten(), truth.flatten()
    ranked = torch.argsort(flat, descending=True, stable=True)[: int(torch.isfinite(flat).sum())]
    if not len(ranked):
        return float("inf"), 0.0
    values, hits = flat[ranked], holds[ranked].cumsum(0)
    said = torch.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (said + int(holds.sum()))
    # Equal scores go together: only the last of them is a place to cut.
    last = torch.cat([values[1:] != values[:-1], torch.ones(1, dtype=torch.bool)])
    best = int(f1.where(last, 0.0).argmax())
    return float(values[best]), float(f1[best])


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
    flat, holds = scores.flatten(), truth.flatten()
    ranked = torch.argsort(flat, descending=True, stable=True)[: int(torch.isfinite(flat).sum())]
    right = holds[ranked]
    precision = right.cumsum(0) / torch.arange(1, len(ranked) + 1)
    return float(precision[right].sum() / max(1, int(holds.sum())))
