"""Cross-entropy of one right candidate among all, without their scores ever being held at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from relgnn.gnn.precision import product_dtype, widen

BLOCK = {"cpu": 1 << 10, "cuda": 1 << 15}
"""Candidates scored at once: so few that a processor's cache holds a batch's scores of them."""


def product_cross_entropy(
    queries: Tensor,
    candidates: Tensor,
    targets: Tensor,
    weights: Tensor,
    label_smoothing: float = 0.0,
    block: int | None = None,
) -> Tensor:
    """`one_vs_all_cross_entropy` of inner products, with one target a query.

    L = 1/B Σ_q w_q [ (1 − ε) (lse_q − s_q,t(q)) + ε (lse_q − 1/N Σ_k s_qk) ],  s_qk = ⟨q, x_k⟩

    Scores are made for a block of candidates at a time, once for lse_q = log Σ_k exp s_qk and once
    more for the gradient, as in Wijmans et al., Cut Your Losses in Large-Vocabulary Language
    Models, ICLR 2025: a fourth product of matrices instead of some eight journeys of [B, N] numbers
    to memory and back. Inside autocast products are made in its precision, sums in float32.

    Args:
        queries: q [B, d].
        candidates: x [N, d].
        targets: t, int64 [B], in [0, N).
        weights: w [B], without gradient.
        label_smoothing: ε.
        block: candidates scored at once; as the device has it where None.

    Returns:
        A scalar, whose gradient has none itself.
    """
    size = block or BLOCK.get(queries.device.type, BLOCK["cuda"])
    loss: Tensor = _ProductCrossEntropy.apply(
        queries, candidates, targets, weights, label_smoothing, product_dtype(queries), size
    )
    return loss


class _ProductCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        targets: Tensor,
        weights: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        size: int,
    ) -> Tensor:
        q, x = queries.to(dtype), candidates.to(dtype)
        wide, count = widen(queries), max(len(queries), 1)
        highest = wide.new_full((len(q),), float("-inf"))
        total = torch.zeros_like(highest)
        for _, scores in _blocks(q, x, size):
            before, highest = highest, torch.maximum(highest, scores.amax(1))
            total *= (before - highest).exp()
            total += _exp_less(scores, highest).sum(1)
        log_total = highest + total.log()
        matched = (1 - smoothing) * widen(candidates[targets])
        if smoothing:
            matched += smoothing * widen(candidates).mean(0)
        scale = weights.to(wide.dtype) / count
        ctx.save_for_backward(q, x, targets, scale, log_total, matched)
        ctx.smoothing, ctx.size = smoothing, size
        ctx.given = queries.dtype, candidates.dtype
        return (scale * (log_total - (wide * matched).sum(1))).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, x, targets, scale, log_total, matched = ctx.saved_tensors
        scale = scale * grad
        scaled = scale[:, None] * widen(q)
        by_query, by_candidate = torch.zeros_like(scaled), scaled.new_zeros(x.shape)
        pulled = scaled.to(q.dtype)
        for columns, scores in _blocks(q, x, ctx.size):
            p = _exp_less(scores, log_total).to(q.dtype)
            by_query += p @ x[columns]
            by_candidate[columns] = p.t() @ pulled
        by_query = scale[:, None] * (by_query - matched)
        by_candidate.index_add_(0, targets, scaled, alpha=ctx.smoothing - 1)
        if ctx.smoothing:
            by_candidate -= ctx.smoothing / len(x) * scaled.sum(0)
        of_queries, of_candidates = ctx.given
        return by_query.to(of_queries), by_candidate.to(of_candidates), *[None] * 5


def _blocks(queries: Tensor, candidates: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Some of the candidates, and the scores [B, n] of these, in float32 at least; to be written
    over."""
    for start in range(0, len(candidates), size):
        columns = slice(start, start + size)
        yield columns, widen(queries @ candidates[columns].t())


def _exp_less(scores: Tensor, shift: Tensor) -> Tensor:
    """exp(s_qk − shift_q) of scores [B, n], written over them.

    By powers of two: those of e, which MKL makes, take two to six times as long on a processor that
    is not Intel's, and forty times where they underflow.
    """
    return scores.sub_(shift[:, None]).mul_(1 / math.log(2)).exp2_()
