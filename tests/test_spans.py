"""Ranges laid end to end."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.spans import spread


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=6))
def test_ranges_are_spread(ranges: list[tuple[int, int]]) -> None:
    first, count = torch.tensor(ranges, dtype=torch.int64).reshape(-1, 2).unbind(1)
    owner, position = spread(first, count)
    expected = [(i, f + k) for i, (f, c) in enumerate(ranges) for k in range(c)]
    assert list(zip(owner.tolist(), position.tolist(), strict=True)) == expected
