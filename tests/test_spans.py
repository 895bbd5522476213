"""Ranges laid end to end."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from relgnn.spans import evenly, spread


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=6))
def test_ranges_are_spread(ranges: list[tuple[int, int]]) -> None:
    first, count = torch.tensor(ranges, dtype=torch.int64).reshape(-1, 2).unbind(1)
    owner, position = spread(first, count)
    expected = [(i, f + k) for i, (f, c) in enumerate(ranges) for k in range(c)]
    assert list(zip(owner.tolist(), position.tolist(), strict=True)) == expected


@given(st.integers(0, 60), st.one_of(st.none(), st.integers(1, 80)))
def test_some_of_many_are_as_many_as_asked_for_and_evenly_spread(
    count: int, among: int | None
) -> None:
    some = evenly(count, among)
    assert len(some) == (count if among is None else min(among, count))
    assert ((some >= 0) & (some < count)).all()
    gaps = some.diff()
    assert not len(gaps) or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)
