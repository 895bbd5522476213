from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.text.means import Means


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 60))
def test_each_mean_is_of_its_groups_rows(seed: int, groups: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(7, 3, generator=generator)
    rows = torch.randint(7, (count,), generator=generator)
    group = torch.randint(groups, (count,), generator=generator)
    means = Means.over(table, rows, group, groups)
    expected = torch.zeros(groups, 3)
    for g in group.unique().tolist():
        expected[g] = table[rows[group == g]].mean(0)
    asked = torch.randint(groups, (4, 2), generator=generator)
    torch.testing.assert_close(means[asked], expected[asked])
    torch.testing.assert_close(means[torch.arange(groups)], expected)
    torch.testing.assert_close(means[groups - 1], expected[-1])
    assert means.filled.tolist() == [g in group for g in range(groups)]
    assert (len(means), means.width) == (groups, 3)
    assert means[torch.zeros(0, dtype=torch.int64)].shape == (0, 3)
