"""Distances between every query and every candidate without a [queries, candidates, dim] tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 18


def modulus_distance(queries: Tensor, candidates: Tensor) -> Tensor:
    """Sum of complex moduli of differences: out_bn = Σ_i |q_bi − c_ni|.

    Args:
        queries: [B, d], complex numbers with the real parts in the first half.
        candidates: [N, d], likewise.

    Returns:
        [B, N]. Candidates are taken in chunks, in both passes.
    """
    with torch.autocast(queries.device.type, enabled=False):
        distance: Tensor = _ModulusDistance.apply(queries, candidates)
    return distance


class _ModulusDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, candidates: Tensor) -> Tensor:
        ctx.save_for_backward(queries, candidates)
        out = queries.new_empty(queries.shape[0], candidates.shape[0])
        for part, real, imaginary in _differences(queries, candidates):
            out[:, part] = real.mul_(real).addcmul_(imaginary, imaginary).sqrt_().sum(-1)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        queries, candidates = ctx.saved_tensors
        half = queries.shape[1] // 2
        grad_queries, grad_candidates = torch.zeros_like(queries), torch.empty_like(candidates)
        tiny = torch.finfo(queries.dtype).tiny
        for part, real, imaginary in _differences(queries, candidates):
            modulus = (real * real).addcmul_(imaginary, imaginary).clamp_(min=tiny).sqrt_()
            slope = grad[:, part, None] / modulus
            for side, unit in ((slice(half), real), (slice(half, None), imaginary)):
                unit.mul_(slope)
                grad_queries[:, side] += unit.sum(1)
                grad_candidates[part, side] = -unit.sum(0)
        return grad_queries, grad_candidates


def _differences(queries: Tensor, candidates: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    (q_real, q_imaginary), (c_real, c_imaginary) = queries.chunk(2, -1), candidates.chunk(2, -1)
    size = max(1, CHUNK_ELEMENTS // max(q_real.numel(), 1))
    for start in range(0, candidates.shape[0], size):
        part = slice(start, start + size)
        yield part, q_real[:, None] - c_real[part], q_imaginary[:, None] - c_imaginary[part]
