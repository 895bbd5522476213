"""Shares of sentences: few labels as they were frozen, and splits that keep relations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.registry import find
from relgnn.data.relations import Example, read_relations
from relgnn.data.shares import few_labels, stratified
from relgnn.errors import InputError


@pytest.mark.parametrize(("percent", "labelled"), [(5, 351), (10, 712), (30, 2153)])
def test_few_labels_are_the_frozen_ones(percent: int, labelled: int) -> None:
    folder = find("semeval2010_fewlabel")
    if folder is None:
        pytest.skip("semeval2010_fewlabel is not here")
    data = read_relations(folder)
    first, second = (few_labels(data, folder, percent, draw) for draw in (0, 1))
    assert len(first.train) == len(second.train) == labelled
    assert first.train != second.train
    assert {one.relation for one in first.unlabelled} == {-1}
    assert len(first.unlabelled) > 3500
    with pytest.raises(InputError, match=r"no subset with 50 % of the labels; there are \[5, 10"):
        few_labels(data, folder, 50, 0)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60),
    st.floats(0.1, 0.9),
    st.integers(0, 5),
)
def test_a_stratified_split_keeps_relations_and_groups(
    rows: list[tuple[int, int]], share: float, seed: int
) -> None:
    examples = [Example(f"{i}", (0, 1), (0, 1), r, group=str(g)) for i, (r, g) in enumerate(rows)]
    part, rest = stratified(examples, share, np.random.default_rng(seed))
    assert sorted(map(int, (one.text for one in (*part, *rest)))) == list(range(len(rows)))
    assert not {one.group for one in part} & {one.group for one in rest}
    alone = [one._replace(group="") for one in examples]
    part, _ = stratified(alone, share, np.random.default_rng(seed))
    whole, have = Counter(one.relation for one in alone), Counter(one.relation for one in part)
    assert all(abs(have[r] - share * n) <= 0.5 + 1e-9 for r, n in whole.items())
