"""Filtered optimistic, realistic and pessimistic ranks, counted instead of sorted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.ranking.admissible import Admissible
from relgnn.ranking.count import Asked
from relgnn.ranking.scores import Blockwise, Products, count_answers
from relgnn.spans import spread

SIDES = ("head", "tail")
TOLERANCE = 1e-6

ScoreTails = Callable[[Tensor, Tensor], Tensor | Blockwise | Products]
"""heads [B] and relations [B] in [0, 2R), int64 on the CPU -> scores of all entities as tails."""


@dataclass(frozen=True)
class Ranks:
    """Ranks of N queries under both ways to break ties; 1 is the best rank.

    Attributes:
        optimistic: int64 [N], the target stands before everything it ties with.
        pessimistic: int64 [N], the target stands behind everything it ties with.
        candidates: int64 [N], answers ranked (the target and all that the filter left).
    """

    optimistic: np.ndarray
    pessimistic: np.ndarray
    candidates: np.ndarray

    def __post_init__(self) -> None:
        if not self.optimistic.shape == self.pessimistic.shape == self.candidates.shape:
            raise InputError(
                f"ranks have shapes {self.optimistic.shape}, {self.pessimistic.shape} and "
                f"{self.candidates.shape}; expected one entry per query in each"
            )

    def __len__(self) -> int:
        return len(self.optimistic)

    @property
    def realistic(self) -> np.ndarray:
        """Mean of the optimistic and the pessimistic rank, float64 [N] (Berrendorf et al. 2020)."""
        return (self.optimistic + self.pessimistic) / 2

    def of_kind(self, kind: str) -> np.ndarray:
        """Return the ranks named `kind`: realistic, optimistic or pessimistic, [N]."""
        if kind not in ("realistic", "optimistic", "pessimistic"):
            raise InputError(
                f"rank kind {kind!r} is unknown; use realistic, optimistic or pessimistic"
            )
        return np.asarray(getattr(self, kind))

    def subset(self, mask: np.ndarray) -> Ranks:
        """Return the ranks of the queries that `mask` (bool or index array) picks."""
        return Ranks(self.optimistic[mask], self.pessimistic[mask], self.candidates[mask])


@dataclass(frozen=True)
class FilterIndex:
    """All known answers of every query (h, r, ?) and, as relation + R, of every (?, r, t).

    Attributes:
        keys: int64 [K] sorted, head * 2R + relation of each query with a known answer.
        offsets: int64 [K + 1], where the answers of a query begin in `tails`.
        tails: int64 [M], the answers, without duplicates within a query.
        num_relations: R, relations without their inverses.
    """

    keys: Tensor
    offsets: Tensor
    tails: Tensor
    num_relations: int

    @classmethod
    def build(cls, triples: np.ndarray, num_relations: int) -> FilterIndex:
        """Index `triples` ([M, 3] int64: head, relation, tail) in both directions."""
        head, relation, tail = np.asarray(triples, dtype=np.int64).reshape(-1, 3).T
        if relation.size and not 0 <= relation.min() <= relation.max() < num_relations:
            raise InputError(
                f"filter triples have relations {relation.min()}..{relation.max()}; "
                f"expected 0..{num_relations - 1}, without inverses"
            )
        width = 2 * num_relations
        key = np.concatenate([head * width + relation, tail * width + relation + num_relations])
        answer = np.concatenate([tail, head])
        order = np.lexsort((answer, key))
        key, answer = key[order], answer[order]
        first = np.ones(len(key), dtype=bool)
        first[1:] = (key[1:] != key[:-1]) | (answer[1:] != answer[:-1])
        keys, counts = np.unique(key[first], return_counts=True)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        return cls(
            torch.from_numpy(keys),
            torch.from_numpy(offsets),
            torch.from_numpy(answer[first]),
            num_relations,
        )

    def spans(self, heads: Tensor, relations: Tensor) -> tuple[Tensor, Tensor]:
        """Where the known answers of queries are: start and stop in `tails`, int64 [B], on the CPU.

        Args:
            heads: int64 [B].
            relations: int64 [B], 0 to 2R - 1; r + R asks for heads.

        Raises:
            InputError: a relation is outside this filter.
        """
        if relations.numel() and int(relations.max()) >= 2 * self.num_relations:
            raise InputError(
                f"query relation {int(relations.max())} is outside this filter; "
                f"expected 0..{2 * self.num_relations - 1}, inverses included"
            )
        query = (heads * (2 * self.num_relations) + relations).cpu()
        if not len(self.keys):
            return torch.zeros_like(query), torch.zeros_like(query)
        place = torch.searchsorted(self.keys, query).clamp(max=len(self.keys) - 1)
        start = self.offsets[place]
        return start, torch.where(self.keys[place] == query, self.offsets[place + 1], start)

    def known(self, heads: Tensor, relations: Tensor) -> tuple[Tensor, Tensor]:
        """Return every known answer of a batch of queries; arguments as in `spans`.

        Returns:
            rows, cols: int64 [K] each; cols[k] answers query rows[k]. On the device of `heads`.
        """
        start, stop = self.spans(heads, relations)
        rows, place = spread(start, stop - start)
        return rows.to(heads.device), self.tails[place].to(heads.device)


def filtered_ranks(
    scores: Tensor,
    targets: Tensor,
    known: tuple[Tensor, Tensor] | None = None,
    tolerance: float = TOLERANCE,
) -> Ranks:
    """Rank each target among all candidates but the other known answers.

    A candidate ties when |s - s_target| <= tolerance * (1 + |s_target|), so give logits or log
    probabilities: probabilities over many entities are all within the absolute part.

    Args:
        scores: float [B, N], higher is better.
        targets: int64 [B], the answer to rank; never filtered.
        known: rows and cols (int64 [K] each, no pair twice) of known answers to leave out.
        tolerance: relative and absolute slack for a tie.

    Raises:
        InputError: a score is not finite.
    """
    targets = targets.cpu().contiguous()
    rows, cols = (index.cpu() for index in known or (targets[:0], targets[:0]))
    order = torch.from_numpy(np.lexsort((cols, rows)))
    bounds = torch.searchsorted(rows[order], torch.arange(len(targets) + 1))
    asked = Asked(torch.arange(len(targets)), targets, bounds[:-1], bounds[1:], cols[order])
    return _ranks(count_answers(scores, asked, tolerance))


@torch.no_grad()
def evaluate_ranks(
    score_tails: ScoreTails,
    triples: np.ndarray,
    filter_index: FilterIndex,
    num_relations: int,
    batch_size: int = 1024,
    tolerance: float = TOLERANCE,
    block_size: int | None = None,
    admissible: Admissible | None = None,
) -> dict[str, Ranks]:
    """Rank the tail and the head of every triple.

    A query is scored once, however many of its answers are ranked.

    Args:
        score_tails: (heads [B], relations [B]), int64 on the CPU -> scores of all entities, a
            tensor [B, N] or what makes it block by block; heads are asked for as (t, r + R, ?).
        triples: int64 [T, 3].
        filter_index: what is known and left out.
        num_relations: R, relations without inverses.
        batch_size: answers ranked at once, to at most as many queries.
        tolerance: see `filtered_ranks`.
        block_size: entities at once, where `score_tails` gives blocks: memory is
            [batch_size, block_size], whatever N. None: what suits the kind of scores.
        admissible: the candidates of each query; all entities where None.

    Returns:
        "tail" and "head" -> ranks in the order of `triples`.

    Raises:
        InputError: a score is not finite.
    """
    head, relation, tail = torch.as_tensor(np.array(triples, dtype=np.int64)).reshape(-1, 3).T
    sides = {"head": (tail, relation + num_relations, head), "tail": (head, relation, tail)}
    ranks = {}
    for side in SIDES:
        *asked_of, targets = sides[side]
        start, stop = filter_index.spans(*asked_of)
        query = asked_of[0] * (2 * num_relations) + asked_of[1]
        counts = torch.zeros(4, len(targets), dtype=torch.int64)
        for items in _grouped(query, targets).split(batch_size) if len(targets) else ():
            batch, row = torch.unique_consecutive(query[items], return_inverse=True)
            heads, relations = batch // (2 * num_relations), batch % (2 * num_relations)
            asked = Asked(row, targets[items], start[items], stop[items], filter_index.tails)
            allowed = partial(admissible.mask, relations) if admissible else None
            scores = score_tails(heads, relations)
            counts[:, items] = count_answers(scores, asked, tolerance, block_size, allowed)
        ranks[side] = _ranks(counts)
    return ranks


def _grouped(query: Tensor, targets: Tensor) -> Tensor:
    """An order in which the answers to one query are neighbours.

    Queries come in the order of their first answers, so that those of a batch lie in few blocks.
    """
    which = torch.unique(query, return_inverse=True)[1]
    first = torch.full_like(targets, torch.iinfo(torch.int64).max)
    first.scatter_reduce_(0, which, targets, "amin")
    return torch.from_numpy(np.lexsort((which, first[which])))


def _ranks(counts: Tensor) -> Ranks:
    # the target is among those that score no worse
    better, not_worse, candidates, _ = counts.numpy()
    return Ranks(better + 1, not_worse, candidates)


def concatenate(parts: list[Ranks]) -> Ranks:
    """Join ranks of several batches, seeds or sides, in order."""
    fields = ("optimistic", "pessimistic", "candidates")
    empty = np.zeros(0, dtype=np.int64)
    return Ranks(*(np.concatenate([empty, *(getattr(p, f) for p in parts)]) for f in fields))
