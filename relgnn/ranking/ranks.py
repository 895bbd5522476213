"""Filtered optimistic, realistic and pessimistic ranks, counted instead of sorted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relgnn.errors import InputError

SIDES = ("head", "tail")
TOLERANCE = 1e-6


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

    def known(self, heads: Tensor, relations: Tensor) -> tuple[Tensor, Tensor]:
        """Return every known answer of a batch of queries.

        Args:
            heads: int64 [B].
            relations: int64 [B], 0 to 2R - 1; r + R asks for heads.

        Returns:
            rows, cols: int64 [K] each; cols[k] answers query rows[k]. On the device of `heads`.
        """
        if relations.numel() and int(relations.max()) >= 2 * self.num_relations:
            raise InputError(
                f"query relation {int(relations.max())} is outside this filter; "
                f"expected 0..{2 * self.num_relations - 1}, inverses included"
            )
        device = heads.device
        query = (heads * (2 * self.num_relations) + relations).cpu()
        if not len(self.keys):
            empty = torch.zeros(0, dtype=torch.int64, device=device)
            return empty, empty
        place = torch.searchsorted(self.keys, query).clamp(max=len(self.keys) - 1)
        found = self.keys[place] == query
        start = self.offsets[place]
        count = torch.where(found, self.offsets[place + 1] - start, 0)
        rows = torch.repeat_interleave(torch.arange(len(query)), count)
        within = torch.arange(len(rows)) - (count.cumsum(0) - count)[rows]
        return rows.to(device), self.tails[start[rows] + within].to(device)


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
    if not torch.is_floating_point(scores) or scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    # A sum is finite only where every term is (overflow aside): one pass, no [B, N] mask.
    if not bool(torch.isfinite(scores.sum())) and not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores).all(dim=1)).sum())
        raise InputError(
            f"scores of {bad} of {len(scores)} queries are not finite (NaN or infinite): the model "
            "diverged; lower the learning rate or train with runtime.precision=fp32"
        )
    target_score = scores.gather(1, targets[:, None])
    slack = tolerance * (1 + target_score.abs())
    better = (scores > target_score + slack).sum(1)
    not_worse = (scores >= target_score - slack).sum(1) - 1
    candidates = torch.full_like(better, scores.shape[1])
    if known is not None:
        rows, cols = known
        other = cols != targets[rows]
        rows, cols = rows[other], cols[other]
        score, reference, room = scores[rows, cols], target_score[rows, 0], slack[rows, 0]
        better.index_add_(0, rows, -(score > reference + room).long())
        not_worse.index_add_(0, rows, -(score >= reference - room).long())
        candidates.index_add_(0, rows, torch.full_like(rows, -1))
    return Ranks(
        (better + 1).cpu().numpy(), (not_worse + 1).cpu().numpy(), candidates.cpu().numpy()
    )


def evaluate_ranks(
    score_tails: Callable[[Tensor, Tensor], Tensor],
    triples: np.ndarray,
    filter_index: FilterIndex,
    num_relations: int,
    batch_size: int = 256,
    tolerance: float = TOLERANCE,
) -> dict[str, Ranks]:
    """Rank the tail and the head of every triple.

    Args:
        score_tails: (heads [B], relations [B]), int64 on the CPU -> scores [B, N] over all
            entities; heads are asked for as (t, r + R, ?).
        triples: int64 [T, 3].
        filter_index: what is known and left out.
        num_relations: R, relations without inverses.
        batch_size: queries at once; memory is [batch_size, N].
        tolerance: see `filtered_ranks`.

    Returns:
        "tail" and "head" -> ranks in the order of `triples`.

    Raises:
        InputError: a score is not finite.
    """
    head, relation, tail = torch.as_tensor(np.array(triples, dtype=np.int64)).reshape(-1, 3).T
    queries = {"head": (tail, relation + num_relations, head), "tail": (head, relation, tail)}
    return {
        side: _rank_queries(score_tails, *queries[side], filter_index, batch_size, tolerance)
        for side in SIDES
    }


@torch.no_grad()
def _rank_queries(
    score_tails: Callable[[Tensor, Tensor], Tensor],
    heads: Tensor,
    relations: Tensor,
    targets: Tensor,
    filter_index: FilterIndex,
    batch_size: int,
    tolerance: float,
) -> Ranks:
    parts = []
    for start in range(0, len(heads), batch_size):
        batch = slice(start, start + batch_size)
        scores = score_tails(heads[batch], relations[batch])
        rows, cols = filter_index.known(heads[batch], relations[batch])
        known = rows.to(scores.device), cols.to(scores.device)
        parts.append(filtered_ranks(scores, targets[batch].to(scores.device), known, tolerance))
    return concatenate(parts)


def concatenate(parts: list[Ranks]) -> Ranks:
    """Join ranks of several batches, seeds or sides, in order."""
    fields = ("optimistic", "pessimistic", "candidates")
    empty = np.zeros(0, dtype=np.int64)
    return Ranks(*(np.concatenate([empty, *(getattr(p, f) for p in parts)]) for f in fields))
