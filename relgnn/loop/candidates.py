"""Candidate triples: the text proposes and the graph judges, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from relgnn.data import KnowledgeGraph
from relgnn.gnn.graph import MessageGraph
from relgnn.linkpred.model import LinkPredictor
from relgnn.linkpred.scorer import Scorer
from relgnn.text.evidence import PairFeatures

MOST_QUERIES = 1 << 18
"""Open queries of which a graph is asked at most: each is scored with all entities."""
LOGITS_AT_ONCE = 1 << 24
"""Logits among which the largest are sought at once."""
PAIRS_AT_ONCE = 1 << 15
"""Answers that are asked back at once."""


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
    model that did not see the fold knows nothing of what it judges.
    """
    mixed = pair_hash(head, tail) >> np.uint64(33)
    return (mixed % np.uint64(folds)).astype(np.int64)


def pair_hash(head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """A number [P] of each pair, uint64, the same for (a, b) and (b, a), whatever others there are.

    By the multiplicative hash of Knuth, so that neighbouring ids are spread.
    """
    low, high = np.minimum(head, tail).astype(np.uint64), np.maximum(head, tail).astype(np.uint64)
    mixed: np.ndarray = (low * np.uint64(0x9E3779B97F4A7C15)) ^ (
        high * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    return mixed


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
    top = _largest(flat, 2 * limit)
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


def votes_of(
    pooled: np.ndarray, features: PairFeatures, found: Candidates, num_relations: int
) -> np.ndarray:
    """What is said of each candidate's pair, in the direction of the candidate.

    Args:
        pooled: float [P, 2R], of each pair; r + R is relation r read from its second entity.
        features: of the pairs.
        found: the candidates.
        num_relations: R.

    Returns:
        float64 [C].
    """
    forward = features.head.numpy()[found.pair] == found.head
    output = np.where(forward, found.relation, found.relation + num_relations)
    votes: np.ndarray = pooled[found.pair, output].astype(float)
    return votes


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places int64 of the `count` largest values, in no order; held are those and a block's."""
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(values), LOGITS_AT_ONCE):
        stop = min(start + LOGITS_AT_ONCE, len(values))
        kept = np.concatenate([kept, np.arange(start, stop)])
        if len(kept) > count:
            kept = kept[np.argpartition(-values[kept], count - 1)[:count]]
    return kept


def graph_log_probabilities(
    model: LinkPredictor, graph: MessageGraph | None, triples: np.ndarray
) -> np.ndarray:
    """log P(t | h, r) and log P(h | r, t) of triples [C, 3], as [C, 2], over all entities."""
    return Scorer.of(model, graph).log_probabilities(triples)


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
    relations that co-occur with those; one that never occurs is asked for all. Of more than
    `MOST_QUERIES` those are asked that an entity is likeliest to have an answer to.

    Args:
        model, graph: the judge that proposes.
        given: int64 [G, 3], known triples.
        answers: top answers taken for each query.
        limit: pairs kept at most, likeliest first by log P(t | h, r) + log P(h | r, t).

    Returns:
        heads [Q] and tails [Q].
    """
    scorer, size = Scorer.of(model, graph), model.entity.shape[0]
    asked = open_queries(given, size, model.num_relations, MOST_QUERIES)
    queries = torch.from_numpy(asked)
    tails, forward = scorer.top_answers(queries, answers)
    order = forward.flatten().argsort(descending=True, stable=True)
    heads, relations = queries[order // tails.shape[1]].unbind(1)
    tails, sure = tails.flatten()[order], forward.flatten()[order].double().numpy()
    pairs = (heads * size + tails).numpy()
    done = 0
    while done < len(sure):
        part = slice(done, done + PAIRS_AT_ONCE)
        inverse = relations[part] + model.num_relations
        sure[part] += scorer.log_answers(tails[part], inverse, heads[part]).numpy()
        done += PAIRS_AT_ONCE
        # no answer further back is surer than its log P(t | h, r): log P(h | r, t) is below 0
        bound = sure[done] if done < len(sure) else -np.inf
        if len(np.unique(pairs[:done][sure[:done] >= bound])) >= limit:
            break
    pairs = pairs[:done][np.argsort(-sure[:done], kind="stable")]
    _, first = np.unique(pairs, return_index=True)
    head, tail = np.divmod(pairs[np.sort(first)[:limit]], size)
    return head, tail


def open_queries(
    given: np.ndarray, num_entities: int, num_relations: int, most: int | None = None
) -> np.ndarray:
    """(head, relation) [Q, 2] worth asking: relations whose heads are used like the entity is.

    Entity e has the roles {r : e heads r} ∪ {r + R : e is a tail of r}. It is asked for relation
    r if a role of its is also a role of some head of r; without any role it is asked for all.

    Args:
        given: int64 [G, 3].
        num_entities, num_relations: N and R.
        most: queries at most: those of the greatest share of heads of r among the entities with one
            of e's roles, the role that says most for it (among all entities, where e has no role).
    """
    roles = np.zeros((num_entities, 2 * num_relations), dtype=np.float32)
    roles[given[:, 0], given[:, 1]] = 1
    roles[given[:, 2], given[:, 1] + num_relations] = 1
    together = (roles.T @ roles)[:, :num_relations]
    heads = together.diagonal()
    asked = roles @ together > 0
    without = roles.sum(1) == 0
    asked[without] = heads > 0
    queries = np.argwhere(asked).astype(np.int64)
    if most is None or len(queries) <= most:
        return queries
    share = np.zeros((num_entities, num_relations), dtype=np.float32)
    share[without] = heads / num_entities
    for role, among in enumerate(roles.sum(0)):
        if among:
            has = roles[:, role] > 0
            share[has] = np.maximum(share[has], together[role] / among)
    order = np.argsort(-share[queries[:, 0], queries[:, 1]], kind="stable")
    return queries[np.sort(order[:most])]


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
