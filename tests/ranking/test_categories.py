"""Categories of relations counted by hand, and metrics by them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from relgnn.ranking.categories import CATEGORIES, category_masks, relation_categories
from relgnn.ranking.metrics import metrics_by_stratum
from relgnn.ranking.ranks import Ranks

RELATIONS = 4
TRAIN = np.array(
    [
        [0, 0, 1], [1, 0, 2], [2, 0, 3],
        [0, 1, 1], [0, 1, 2], [0, 1, 3],
        [1, 2, 0], [2, 2, 0], [3, 2, 0],
        [0, 3, 1], [0, 3, 2], [1, 3, 1], [1, 3, 2],
    ]
)  # fmt: skip

triples = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, RELATIONS - 1), st.integers(0, 4)), max_size=30
).map(lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 3))


def test_one_relation_of_each_category():
    codes = relation_categories(TRAIN, RELATIONS + 1)
    assert [CATEGORIES[code] for code in codes[:-1]] == ["1-1", "1-N", "N-1", "N-N"]
    assert codes[-1] == -1


def test_the_threshold_is_many():
    # 3 triples of 2 heads are 1.5 tails a head; the tails have 1 head each
    assert relation_categories(np.array([[0, 0, 1], [0, 0, 2], [1, 0, 3]]), 1).tolist() == [1]


@given(triples)
def test_equals_counting(train):
    for relation, code in enumerate(relation_categories(train, RELATIONS)):
        tails, heads = defaultdict(set), defaultdict(set)
        for h, _, t in train[train[:, 1] == relation].tolist():
            tails[h].add(t)
            heads[t].add(h)
        if not tails:
            assert code == -1
            continue
        many_heads, many_tails = (
            sum(map(len, groups.values())) / len(groups) >= 1.5 for groups in (heads, tails)
        )
        assert CATEGORIES[code] == f"{'N' if many_heads else '1'}-{'N' if many_tails else '1'}"


@given(triples, triples)
def test_turning_triples_around_turns_the_category_around(train, more):
    both = np.concatenate([train, more])
    turned = {-1: -1, 0: 0, 1: 2, 2: 1, 3: 3}
    codes = relation_categories(both, RELATIONS)
    assert [turned[c] for c in codes] == relation_categories(both[:, ::-1], RELATIONS).tolist()
    np.testing.assert_array_equal(codes, relation_categories(np.repeat(both, 2, 0), RELATIONS))


def test_metrics_by_category_and_side():
    codes = np.array([0, 1, -1], dtype=np.int8)
    masks = category_masks(codes, np.array([0, 1, 2, 1]))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "1-1": [True, False, False, False],
        "1-N": [False, True, False, True],
        "N-1": [False] * 4,
        "N-N": [False] * 4,
    }
    count = np.full(4, 9)
    ranks = {side: Ranks(r, r, count) for side, r in
             (("head", np.array([1, 2, 3, 4])), ("tail", np.array([5, 5, 5, 1])))}  # fmt: skip
    metrics = metrics_by_stratum(ranks, masks)
    assert list(metrics) == ["all", "1-1", "1-N"]
    assert metrics["1-N"]["head"]["realistic"]["mrr"] == (1 / 2 + 1 / 4) / 2
    assert metrics["1-N"]["tail"]["realistic"]["mrr"] == (1 / 5 + 1) / 2
