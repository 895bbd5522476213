"""Shares of sentences: few labels as they were frozen, and splits that keep relations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.data.registry import find
from relgnn.data.relations import Example, RelationData, read_relations
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


DATA = RelationData(
    "d", ("a",), ("",), ("",),
    tuple(Example(f"a {i} b", (0, 1), (4, 5), 0) for i in range(4)), (), (),
)  # fmt: skip
SUBSET = {"labelled": [0], "unlabelled": [1, 3]}


def test_draws_are_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    names = {f"seed{seed}_label50": {**SUBSET, "labelled": [i]} for i, seed in enumerate((9, 10))}
    (tmp_path / "subsets.json").write_text(json.dumps({"about": "frozen", **names}))
    found = [few_labels(DATA, tmp_path, 50, draw) for draw in (0, 1)]
    assert [one.train for one in found] == [DATA.train[:1], DATA.train[1:2]]
    assert [one.text for one in found[0].unlabelled] == ["a 1 b", "a 3 b"]


@pytest.mark.parametrize(("content", "draw", "told"), [
    ({"seed0_label50": SUBSET}, 1, "data.split_seed is 1, and 1 draws of 50 % .* one of 0 to 0"),
    ({"seed0_label50": SUBSET | {"labelled": [4]}}, 0, "the row 4, and train has rows 0 to 3"),
    ({"seed0_label50": SUBSET | {"unlabelled": [-1]}}, 0, "names the row -1"),
    ({"seed0_label50": SUBSET | {"labelled": ["0"]}}, 0, "names the row '0'"),
    ({"seed0_label50": {"labelled": [0]}}, 0, "has no list of rows 'unlabelled'"),
    ({"seed0_label50": [0, 1]}, 0, "has no list of rows 'labelled'"),
    ({"seed0_label50.4": SUBSET}, 0, "no subset with 50 % of the labels; there are none"),
    ([1], 0, "no subset with 50 % of the labels; there are none"),
])  # fmt: skip
def test_frozen_subsets_that_do_not_fit(content: Any, draw: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "subsets.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=told) as caught:
        few_labels(DATA, tmp_path, 50, draw)
    assert "\n" not in str(caught.value)


def test_a_share_is_met_exactly(tmp_path: Path) -> None:
    (tmp_path / "subsets.json").write_text(json.dumps({"seed0_label50": SUBSET}))
    with pytest.raises(InputError, match=r"no subset with 50.4 % of the labels; there are \[50\]"):
        few_labels(DATA, tmp_path, 50.4, 0)


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
