"""Counting which candidates of a block score better and which no worse than an answer.

On the CPU it is one pass of count.cpp over the block while it is in the cache; the PyTorch form
below serves where there is no compiler and on CUDA, and says the same in plain words.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from relgnn.native import library, pointer
from relgnn.spans import spread

SOURCE = Path(__file__).with_suffix(".cpp")
PAIRS = 1 << 14  # scored again at once by the PyTorch form: memory is PAIRS x d


@dataclass(frozen=True)
class Asked:
    """The answers to rank of one batch of queries, and the known answers to leave out.

    Attributes:
        row: int64 [I], the query of each answer.
        target: int64 [I], the answer.
        start, stop: int64 [I]; the known answers of the query are `known[start:stop]`, ascending.
        known: int64 [M]. All are on the CPU.
    """

    row: Tensor
    target: Tensor
    start: Tensor
    stop: Tensor
    known: Tensor

    @cached_property
    def left_out(self) -> tuple[Tensor, Tensor]:
        """Item and entity (int64 [K] each) of every known answer but the item's own target."""
        item, place = spread(self.start, self.stop - self.start)
        entity = self.known[place]
        other = entity != self.target[item]
        return item[other], entity[other]


@dataclass(frozen=True)
class Band:
    """Scores from `low` to `high` tie with an item's target, [I] each; those above are better."""

    low: Tensor
    high: Tensor

    @classmethod
    def around(cls, score: Tensor, tolerance: float) -> Band:
        """All s with |s - score| <= tolerance * (1 + |score|)."""
        slack = tolerance * (1 + score.abs())
        return cls(score - slack, score + slack)


@dataclass(frozen=True)
class Doubt:
    """How far scores of a first pass may be off, and what settles those that it leaves open.

    Attributes:
        factor, norms: float32 [I] and [N]; a score is off by at most factor * norm.
        queries, candidates: float32 [B, d] and [N, d], whose inner products are the scores.
        band: float64, of the scores themselves.
    """

    factor: Tensor
    norms: Tensor
    queries: Tensor
    candidates: Tensor
    band: Band

    def within(self, block: slice) -> Doubt:
        """The same for the candidates of one block."""
        return replace(self, norms=self.norms[block], candidates=self.candidates[block])


def count(
    scores: Tensor,
    first: int,
    asked: Asked,
    band: Band,
    allowed: Tensor | None = None,
    doubt: Doubt | None = None,
) -> Tensor:
    """Compare the scores of one block of entities with those of the targets.

    Args:
        scores: [B, n]; float32 or float64, bfloat16 only with `doubt`.
        first: the block's first entity.
        asked: I answers of the B queries.
        band: where scores tie, of the scores' type (float32 for bfloat16); with `doubt` it is as
            wide as the first pass rounds, before the part of it that depends on the candidate.
        allowed: bool [B, n], candidates; None: all are. A target always is one.
        doubt: of the block's candidates, where scores are a first pass.

    Returns:
        int64 [4, I], on the CPU: candidates that score better, that score no worse (the target
        among them), candidates at all, and scores that are not finite.
    """
    native = library(SOURCE) if scores.device.type == "cpu" else None
    if native is None:
        return _count(scores, first, asked, band, allowed, doubt).cpu()
    scores = scores.contiguous()
    out = torch.empty(4, len(asked.row), dtype=torch.int64)
    kind = str(scores.dtype).removeprefix("torch.")
    common = (
        *map(ctypes.c_int64, (len(asked.row), scores.shape[1], first)),
        *map(pointer, (scores, asked.row, asked.target, asked.start, asked.stop, asked.known)),
        *map(pointer, (band.low, band.high, allowed, out)),
    )
    if doubt is None:
        native[f"count_{kind}"](*common)
    else:
        native[f"count_first_{kind}"](
            *common, pointer(doubt.factor), pointer(doubt.norms),
            ctypes.c_int64(doubt.queries.shape[1]),
            *map(pointer, (doubt.queries, doubt.candidates, doubt.band.low, doubt.band.high)),
        )  # fmt: skip
    return out


def inner_products(queries: Tensor, candidates: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products ⟨queries[row], candidates[column]⟩ in float64.

    Args:
        queries, candidates: float32 [B, d] and [N, d].
        rows, columns: int64 [K] each.

    Returns:
        float64 [K]; equal vectors have equal products, bit by bit.
    """
    native = library(SOURCE) if queries.device.type == "cpu" else None
    if native is None:
        return torch.cat(
            [
                (queries[row].double() * candidates[column].double()).sum(1)
                for row, column in zip(rows.split(PAIRS), columns.split(PAIRS), strict=True)
            ]
        )
    out = torch.empty(len(rows), dtype=torch.float64)
    native["dots"](
        *map(ctypes.c_int64, (len(rows), queries.shape[1])),
        *map(pointer, (queries, candidates, rows, columns, out)),
    )
    return out


def _count(
    scores: Tensor,
    first: int,
    asked: Asked,
    band: Band,
    allowed: Tensor | None,
    doubt: Doubt | None,
) -> Tensor:
    device, size = scores.device, scores.shape[1]
    row = asked.row.to(device)
    odd = _odd(scores)[row]
    low, high = band.low[:, None], band.high[:, None]
    if doubt is not None:
        # a row that did not come out finite decides nothing
        factor = doubt.factor.masked_fill(odd > 0, torch.nan)
        room = factor[:, None] * doubt.norms
        low, high = low - room, high + room
    scores = scores[row].to(band.low.dtype)
    candidate = torch.ones_like(scores, dtype=torch.bool) if allowed is None else allowed[row]
    item, entity = asked.left_out
    inside = (entity >= first) & (entity < first + size)
    candidate[item[inside].to(device), (entity[inside] - first).to(device)] = False
    here = ((asked.target >= first) & (asked.target < first + size)).nonzero().squeeze(1)
    candidate[here.to(device), (asked.target[here] - first).to(device)] = True
    better = (scores > high).logical_and_(candidate)
    not_worse = (scores < low).logical_not_().logical_and_(candidate)
    counts = torch.stack([better.sum(1), not_worse.sum(1), candidate.sum(1), odd])
    if doubt is not None:
        items, columns = not_worse.logical_xor_(better).nonzero().unbind(1)
        exact = inner_products(doubt.queries, doubt.candidates, row[items], columns)
        above = exact > doubt.band.high[items]
        no_worse = exact >= doubt.band.low[items]
        counts[1], counts[3] = counts[0], 0
        for place, found in ((0, above), (1, no_worse), (3, ~exact.isfinite())):
            counts[place].index_add_(0, items, found.long())
    return counts


def _odd(scores: Tensor) -> Tensor:
    """How many scores of each row are not finite, int64 [B]."""
    # a sum is finite only where every term is (overflow aside): one pass, no [B, n] mask
    if bool(scores.sum().isfinite()):
        return torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    return (~scores.isfinite()).sum(1)
