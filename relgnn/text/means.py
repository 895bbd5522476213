"""Means of a table's rows over groups, made for the groups that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Means:
    """The mean vector of each group of rows, [G, d]; zero where a group is empty.

    What is held is the table and a number for each row of a group. A text corpus speaks of many
    more pairs than it has sentences: a vector for each of the two million pairs of WN18RR's
    glosses would be 3 GB.

    Args:
        table: [T, d].
        rows: int64 [K], rows of the table, group by group.
        start: int64 [G + 1], where each group begins in `rows`; the last is K.
    """

    table: Tensor
    rows: Tensor
    start: Tensor

    @classmethod
    def over(cls, table: Tensor, rows: Tensor, group: Tensor, groups: int) -> Means:
        """Means over the rows int64 [K] of each group, which `group` [K] numbers below `groups`."""
        start = torch.zeros(groups + 1, dtype=torch.int64)
        start[1:] = torch.bincount(group, minlength=groups).cumsum(0)
        return cls(table, rows[group.argsort(stable=True)], start)

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def width(self) -> int:
        """d."""
        return self.table.shape[1]

    @property
    def filled(self) -> np.ndarray:
        """Which groups have a row, bool [G]."""
        return (self.start.diff() > 0).numpy()

    def __getitem__(self, group: Tensor | int) -> Tensor:
        """Means [..., d] of groups int64 [...]."""
        which = torch.as_tensor(group)
        wanted = which.flatten()
        count = self.start[wanted + 1] - self.start[wanted]
        end = count.cumsum(0)
        place = torch.arange(int(count.sum()))
        place += (self.start[wanted] - (end - count)).repeat_interleave(count)
        means = functional.embedding_bag(self.rows[place], self.table, end - count, mode="mean")
        return means.view(*which.shape, self.width)
