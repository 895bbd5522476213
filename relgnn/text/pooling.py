"""Pooling over ranges and groups of vectors without a loop over them."""

from __future__ import annotations

import torch
from torch import Tensor


def range_max(states: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The maximum over states [start, end) of each range; zero where a range is empty.

    By a sparse table: level k holds the maxima over 2^k states from each place, and two of its
    entries, which may overlap, cover any range of length 2^k to 2^(k+1).

    Args:
        states: [T, d].
        start, end: int64 [N], 0 <= start, end <= T.

    Returns:
        [N, d].
    """
    length = end - start
    level = _floor_log2(length.clamp(min=1))
    table = [states]
    for k in range(int(level.max()) if len(level) else 0):
        below, half = table[-1], 2**k
        # Beyond the last whole window nothing is ever asked for.
        table.append(torch.cat([torch.maximum(below[:-half], below[half:]), below[-half:]]))
    flat, count = torch.cat(table), len(states)
    first = (level * count + start).clamp(max=len(flat) - 1)
    last = (level * count + end - 2**level).clamp(min=0)
    found = torch.maximum(flat.index_select(0, first), flat.index_select(0, last))
    return found.masked_fill((length <= 0)[:, None], 0.0)


def _floor_log2(length: Tensor) -> Tensor:
    powers = 2 ** torch.arange(1, 32, device=length.device)
    return torch.bucketize(length, powers, right=True)


def group_logsumexp(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """log Σ exp over the rows of each group, with gradient; -inf for a group without rows.

    Args:
        scores: [N, ...].
        group: int64 [N], which group each row is of.
        groups: how many there are.

    Returns:
        [groups, ...].
    """
    shape = (groups, *scores.shape[1:])
    index = group.view(-1, *[1] * (scores.dim() - 1)).expand_as(scores)
    top = scores.detach().new_full(shape, float("-inf"))
    top = top.scatter_reduce(0, index, scores.detach(), "amax")
    shifted = (scores - top.gather(0, index)).exp()
    total = scores.new_zeros(shape).index_add(0, group, shifted)
    empty = torch.isinf(top)
    return torch.where(empty, top, total.where(~empty, 1.0).log() + top)
