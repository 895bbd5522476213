"""Candidate triples: the text proposes and the graph judges, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.scorer import QUERY_BATCH, Scorer
from relgnn.text.evidence import PairFeatures


@dataclass(frozen=True)
class Candidates:
    """Triples that a round judges, in columns; each triple once.

    Args:
        head, relation, tail: int64 [C].
        pair: int64 [C], row of the evidence that speaks of the triple.
        text: float [C], the pair model's logit for the triple.
        implied: bool [C], True where the graph proposed the pair and no sentence names it.
        fold: int64 [C], cross-fitting fold of the triple's two entities.
    """

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    pair: np.ndarray
    text: np.ndarray
    implied: np.ndarray
    fold: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    @property
    def triples(self) -> np.ndarray:
        """int64 [C, 3]."""
        return np.stack([self.head, self.relation, self.tail], axis=1)

    def subset(self, index: np.ndarray) -> Candidates:
        """The candidates that `index` (bool mask or positions) picks."""
        return Candidates(*(getattr(self, f.name)[index] for f in fields(self)))


def pair_folds(head: np.ndarray, tail: np.ndarray, folds: int) -> np.ndarray:
    """Fold [P] of each pair, the same for (a, b) and (b, a).

    So whatever is known of two entities, in any relation and direction, is in one fold, and a
    model that did not see the fold knows nothing of what it judges. Spread by the multiplicative
    hash of Knuth, so that neighbouring ids do not share folds.
    """
    low, high = np.minimum(head, tail), np.maximum(head, tail)
    mixed = (low.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ (
        high.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    return ((mixed >> np.uint64(33)) % np.uint64(folds)).astype(np.int64)


def candidates_from_pairs(
    features: PairFeatures,
    logits: np.ndarray,
    implied: np.ndarray,
    folds: np.ndarray,
    limit: int,
) -> Candidates:
    """The `limit` triples that the pair model finds likeliest, each once.

    A triple that two pairs speak of, (a, b) on a's page and (b, a) on b's, takes the surer.

    Args:
        features: the pairs.
        logits: [P, 2R] cross-fitted.
        implied: bool [P].
        folds: int64 [P].
        limit: how many go on to the dearer judges.
    """
    relations = logits.shape[1] // 2
    flat = logits.ravel()
    count = min(2 * limit, flat.size)
    top = np.argpartition(-flat, count - 1)[:count] if count else np.zeros(0, dtype=np.int64)
    top = top[np.lexsort((top, -flat[top]))]
    pair, output = np.divmod(top, 2 * relations)
    forward = output < relations
    first, second = features.head.numpy()[pair], features.tail.numpy()[pair]
    head, tail = np.where(forward, first, second), np.where(forward, second, first)
    relation = output % relations
    size = int(len(features.node))
    # Sorted by logit, so the first of equal triples is the surer.
    _, kept = np.unique((head * relations + relation) * size + tail, return_index=True)
    kept = np.sort(kept)[:limit]
    return Candidates(
        head[kept], relation[kept], tail[kept], pair[kept], flat[top[kept]].astype(float),
        implied[pair[kept]], folds[pair[kept]],
    )  # fmt: skip


def graph_log_probabilities(
    model: LinkPredictor, graph: MessageGraph | None, triples: np.ndarray
) -> np.ndarray:
    """log P(t | h, r) and log P(h | r, t) of triples [C, 3], as [C, 2], over all entities."""
    return Scorer.of(model, graph).log_probabilities(triples)


@torch.inference_mode()
def propose_pairs(
    model: LinkPredictor,
    graph: MessageGraph | None,
    given: np.ndarray,
    answers: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that the graph finds likely: the top answers of open queries.

    Asked are (h, r, ?) for every head and every relation that some entity sharing a type of use
    with it has: an entity that occurs as head (tail) of any relation in `given` is asked for the
    relations that co-occur with those; one that never occurs is asked for all.

    Args:
        model, graph: the judge that proposes.
        given: int64 [G, 3], known triples.
        answers: top answers taken for each query.
        limit: pairs kept at most, likeliest first by log P(t | h, r) + log P(h | r, t).

    Returns:
        heads [Q] and tails [Q].
    """
    model.eval()
    queries = torch.from_numpy(open_queries(given, model.entity.shape[0], model.num_relations))
    encoded = model.encode(graph)
    device = model.entity.device
    triples = []
    for part in queries.split(QUERY_BATCH):
        scores = model.score_tails(encoded, part[:, 0].to(device), part[:, 1].to(device))
        top = scores.topk(min(answers, scores.shape[1]), dim=1).indices.cpu()
        triples.append(
            torch.cat([part.repeat_interleave(top.shape[1], 0), top.reshape(-1, 1)], dim=1)
        )
    found = torch.cat(triples).numpy() if triples else np.zeros((0, 3), dtype=np.int64)
    sure = graph_log_probabilities(model, graph, found).sum(1)
    found = found[np.argsort(-sure, kind="stable")]
    size = model.entity.shape[0]
    _, first = np.unique(found[:, 0] * size + found[:, 2], return_index=True)
    found = found[np.sort(first)[:limit]]
    return found[:, 0], found[:, 2]


def open_queries(given: np.ndarray, num_entities: int, num_relations: int) -> np.ndarray:
    """(head, relation) [Q, 2] worth asking: relations whose heads are used like the entity is.

    Entity e has the roles {r : e heads r} ∪ {r + R : e is a tail of r}. It is asked for relation
    r if a role of its is also a role of some head of r; without any role it is asked for all.
    """
    roles = np.zeros((num_entities, 2 * num_relations), dtype=np.float32)
    roles[given[:, 0], given[:, 1]] = 1
    roles[given[:, 2], given[:, 1] + num_relations] = 1
    together = roles.T @ roles
    asked = roles @ together[:, :num_relations] > 0
    asked[roles.sum(1) == 0] = together.diagonal()[:num_relations] > 0
    return np.argwhere(asked).astype(np.int64)


def given_folds(graph: KnowledgeGraph, folds: int) -> np.ndarray:
    """The fold of each given triple's two entities, int64 [G]."""
    return pair_folds(graph.train[:, 0], graph.train[:, 2], folds)


def fusion_extra(graph: KnowledgeGraph, found: Candidates, folds: int) -> np.ndarray:
    """What the fusion knows of candidates beside votes, [C, 2].

    The log of how often the relation is given, and whether the graph proposed the pair. Counted are
    the other folds: a rare relation's own count would tell that a candidate is given.
    """
    fold = given_folds(graph, folds)
    frequency = np.stack(
        [
            np.bincount(graph.train[fold != k, 1], minlength=graph.num_relations)
            for k in range(folds)
        ]
    )[found.fold, found.relation]
    return np.column_stack([np.log1p(frequency), found.implied])
