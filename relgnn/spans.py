"""Ranges of positions laid end to end, as rows of compressed sparse matrices are; some of many."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Every position of ranges that start at `first` [n] and hold `count` [n] positions.

    Returns:
        the number of its range and the position, int64 [sum of count] each, range by range.
    """
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    start = first - (count.cumsum(0) - count)
    return owner, torch.arange(len(owner), device=count.device) + start[owner]


def evenly(count: int, among: int | None) -> Tensor:
    """So many of `count` positions at most, evenly spread; all where None. int64, ascending."""
    some = count if among is None else min(among, count)
    return torch.arange(some) * count // max(1, some)
