"""What is known of pairs, and which of their sentences the extractor reads."""

from __future__ import annotations

import numpy as np

from relgnn.data import KnowledgeGraph
from relgnn.loop.candidates import pair_hash
from relgnn.loop.pseudo import Pseudo
from relgnn.text.evidence import Evidence, PairFeatures
from relgnn.text.linking import IMPLIED
from relgnn.text.pairs import PairLabels

ROWS_PER_PAIR = 2
"""Sentences of one pair that the extractor reads."""


def pair_labels(graph: KnowledgeGraph, features: PairFeatures, pseudo: Pseudo) -> PairLabels:
    """What is known of the pairs: given triples with weight 1, accepted ones with their p."""
    known = np.concatenate([graph.train, pseudo.triples])
    weight = np.concatenate([np.ones(len(graph.train)), pseudo.p])
    return PairLabels.match(features, known, weight, graph.num_relations)


def surest_rows(pair: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Positions of the few surest rows of each pair that name both ends, pair by pair.

    Args:
        pair: int64 [M], the pair of each row.
        kind: int64 [M], how surely each names its tail; indexes `linking.KINDS`.
    """
    rows = np.flatnonzero(kind != IMPLIED)
    rows = rows[np.lexsort((kind[rows], pair[rows]))]
    starts = np.flatnonzero(np.diff(pair[rows], prepend=-1))
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    return rows[place < ROWS_PER_PAIR]


def rows_to_read(
    evidence: Evidence, logits: np.ndarray, labels: PairLabels, folds: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence rows for the extractor, a few of each pair, and the pairs that it judges.

    Half of the rows are there to be judged: in each fold those of the likeliest pairs, labelled
    or not, so that whether a pair is judged says nothing of whether it is given. The rest, of
    other labelled pairs, drawn where there are too many, are there to be learned from. Pairs that
    no sentence names have nothing to mark and are left out.

    Args:
        evidence: who is where.
        logits: [P, 2R], cross-fitted.
        labels: what is known.
        folds: int64 [P].
        limit: rows read in all; the last judged pair of a fold is read whole.

    Returns:
        rows [M], and bool [P].
    """
    rows = surest_rows(evidence.pair, evidence.kind)
    pair, names = evidence.pair[rows], np.unique(folds)
    judged = np.zeros(evidence.num_pairs, dtype=bool)
    for fold in names:
        own = pair[folds[pair] == fold]
        likeliest = np.argsort(-logits.max(1)[own], kind="stable")[: limit // (2 * len(names))]
        judged[own[likeliest]] = True
    kept = judged[pair]
    learned = np.flatnonzero(np.isin(pair, labels.pair) & ~kept)
    drawn = pair_hash(evidence.pair_head, evidence.pair_tail)[pair[learned]]
    learned = learned[np.argsort(drawn, kind="stable")]
    kept[learned[: max(0, limit - int(kept.sum()))]] = True
    return rows[kept], judged
