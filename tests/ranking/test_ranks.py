"""Ranks against a brute-force reference and under what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.ranking.ranks import FilterIndex, Ranks, evaluate_ranks, filtered_ranks
from relgnn.ranking.scores import Blockwise
from relgnn.runtime import rng
from tests.ranking.brute import as_rows, assert_same, brute_force

ENTITIES, RELATIONS = 7, 2

triple = st.tuples(
    st.integers(0, ENTITIES - 1), st.integers(0, RELATIONS - 1), st.integers(0, ENTITIES - 1)
)
triples = st.lists(triple, min_size=1, max_size=12).map(lambda rows: np.array(rows, dtype=np.int64))
# few distinct scores, so that ties abound
score_tables = st.lists(
    st.integers(-2, 2), min_size=ENTITIES**2 * 2 * RELATIONS, max_size=ENTITIES**2 * 2 * RELATIONS
).map(lambda v: torch.tensor(v, dtype=torch.float64).view(ENTITIES, 2 * RELATIONS, ENTITIES))


def rank(table, test, known, **options):
    index = FilterIndex.build(known, RELATIONS)
    return evaluate_ranks(lambda h, r: table[h, r], test, index, RELATIONS, **options)


@settings(max_examples=60, deadline=None)
@given(score_tables, triples, triples, st.integers(1, 5), st.integers(1, ENTITIES + 1))
def test_equals_brute_force(table, test, known, batch_size, block_size):
    expected = brute_force(lambda *hrt: float(table[hrt]), test, known, ENTITIES, RELATIONS)
    ours = rank(table, test, known, batch_size=batch_size)
    assert_same(as_rows(ours), expected)
    for side, rows in expected.items():
        np.testing.assert_array_equal(ours[side].realistic, (rows[:, 0] + rows[:, 1]) / 2)

    def blocks(heads, relations):
        return Blockwise(ENTITIES, lambda block: table[heads, relations][:, block])

    index = FilterIndex.build(known, RELATIONS)
    sizes = {"batch_size": batch_size, "block_size": block_size}
    assert_same(as_rows(evaluate_ranks(blocks, test, index, RELATIONS, **sizes)), expected)


@settings(max_examples=30, deadline=None)
@given(score_tables, triples, triples, st.permutations(range(ENTITIES)))
def test_renaming_entities_changes_nothing(table, test, known, new):
    new = np.array(new)
    renamed_table = torch.empty_like(table)
    renamed_table[new[:, None], :, new[None, :]] = table.transpose(1, 2)

    def rename(rows):
        return np.stack([new[rows[:, 0]], rows[:, 1], new[rows[:, 2]]], 1)

    renamed = rank(renamed_table, rename(test), rename(known))
    assert_same(as_rows(rank(table, test, known)), as_rows(renamed))


@settings(max_examples=30, deadline=None)
@given(score_tables, triples, triples, st.floats(-50, 50))
def test_adding_a_constant_changes_nothing(table, test, known, constant):
    moved = rank(table + constant, test, known)
    assert_same(as_rows(rank(table, test, known)), as_rows(moved))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_any_score_type(dtype):
    table = torch.from_numpy(rng("table", 0).integers(-3, 4, (ENTITIES, 4, ENTITIES))).to(dtype)
    test = np.array([[0, 0, 1], [2, 1, 3]])
    assert_same(as_rows(rank(table, test, test)), as_rows(rank(table.double(), test, test)))


def test_differences_within_the_tolerance_tie():
    scores = torch.tensor([[100.0, 100.00001, 99.99999, 100.1]], dtype=torch.float64)
    ranks = filtered_ranks(scores, torch.tensor([0]))
    assert (ranks.optimistic[0], ranks.pessimistic[0]) == (2, 4)
    exact = filtered_ranks(scores, torch.tensor([0]), tolerance=0.0)
    assert (exact.optimistic[0], exact.pessimistic[0]) == (3, 3)


def test_constant_scores_rank_in_the_middle():
    ranks = filtered_ranks(torch.zeros(1, 11), torch.tensor([4]))
    assert ranks.realistic.tolist() == [6.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_an_error(bad):
    scores = torch.zeros(3, 5)
    scores[1, 2] = bad
    with pytest.raises(InputError, match="1 of 3 queries are not finite"):
        filtered_ranks(scores, torch.zeros(3, dtype=torch.int64))


def test_huge_finite_scores_are_ranked():
    scores = torch.full((2, 5), 3e38)
    scores[:, 0] = -3e38
    assert filtered_ranks(scores, torch.tensor([0, 1])).optimistic.tolist() == [5, 1]


def test_known_answers_of_a_batch():
    index = FilterIndex.build(np.array([[0, 0, 1], [0, 0, 2], [0, 0, 2], [3, 1, 2]]), RELATIONS)
    rows, cols = index.known(torch.tensor([5, 0, 2, 2]), torch.tensor([0, 0, 2, 3]))
    assert list(zip(rows.tolist(), cols.tolist(), strict=True)) == [(1, 1), (1, 2), (2, 0), (3, 3)]


def test_an_empty_filter_knows_nothing():
    index = FilterIndex.build(np.zeros((0, 3), dtype=np.int64), RELATIONS)
    assert index.known(torch.tensor([0]), torch.tensor([0]))[0].tolist() == []


def test_no_triples_give_no_ranks():
    ranks = rank(torch.zeros(ENTITIES, 4, ENTITIES), np.zeros((0, 3)), np.zeros((0, 3)))
    assert len(ranks["head"]) == len(ranks["tail"]) == 0


def test_one_entity_is_the_best_of_one():
    test = np.array([[0, 0, 0]])
    index = FilterIndex.build(test, 1)
    ranks = evaluate_ranks(lambda h, r: torch.zeros(len(h), 1), test, index, 1)
    assert all(row.tolist() == [[1, 1, 1]] for row in as_rows(ranks).values())


def test_a_target_stays_where_it_is_filtered_for_another():
    # (0, 0, ?) has the answers 1 and 2: each is ranked without the other
    table = torch.zeros(ENTITIES, 2 * RELATIONS, ENTITIES)
    table[0, 0, 1], table[0, 0, 2] = 2.0, 1.0
    test = np.array([[0, 0, 2], [0, 0, 1]])
    ranks = rank(table, test, test)["tail"]
    assert ranks.optimistic.tolist() == ranks.pessimistic.tolist() == [1, 1]
    assert ranks.candidates.tolist() == [ENTITIES - 1] * 2


def test_a_query_is_scored_once():
    asked = []

    def score(heads, relations):
        asked.extend(zip(heads.tolist(), relations.tolist(), strict=True))
        return torch.zeros(len(heads), ENTITIES)

    test = np.array([[0, 0, 1], [3, 1, 2], [0, 0, 2], [0, 0, 3]])
    evaluate_ranks(score, test, FilterIndex.build(test, RELATIONS), RELATIONS)
    assert sorted(asked) == [(0, 0), (1, 2), (2, 2), (2, 3), (3, 1), (3, 2)]


def test_known_answers_in_any_order():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    known = torch.tensor([1, 0, 1]), torch.tensor([1, 0, 0])
    ranks = filtered_ranks(scores, torch.tensor([2, 2]), known)
    assert ranks.optimistic.tolist() == [2, 1]
    assert ranks.candidates.tolist() == [2, 1]


def test_scores_that_do_not_fit_are_an_error():
    test = np.array([[0, 0, 1], [1, 0, 0]])
    index = FilterIndex.build(test, RELATIONS)
    with pytest.raises(InputError, match="a row for each of 2 queries"):
        evaluate_ranks(lambda h, r: torch.zeros(1, ENTITIES), test, index, RELATIONS)
    with pytest.raises(InputError, match="a column for each entity"):
        blocks = Blockwise(ENTITIES, lambda block: torch.zeros(2, 1))
        evaluate_ranks(lambda h, r: blocks, test, index, RELATIONS)
    with pytest.raises(InputError, match="answers 0..1 .* 1 entities"):
        evaluate_ranks(lambda h, r: torch.zeros(2, 1), test, index, RELATIONS)


def test_relations_outside_the_filter_are_an_error():
    with pytest.raises(InputError, match="expected 0..1"):
        FilterIndex.build(np.array([[0, 2, 1]]), RELATIONS)
    index = FilterIndex.build(np.array([[0, 1, 1]]), RELATIONS)
    with pytest.raises(InputError, match="query relation 4"):
        index.known(torch.tensor([0]), torch.tensor([4]))


def test_ranks_of_unequal_length_are_an_error():
    with pytest.raises(InputError, match="one entry per query"):
        Ranks(np.ones(2), np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="'best' is unknown"):
        Ranks(np.ones(1), np.ones(1), np.ones(1)).of_kind("best")


def test_scores_are_asked_without_gradients():
    weight = torch.ones(ENTITIES, 4, ENTITIES, requires_grad=True)
    seen = []

    def score(heads, relations):
        scores = weight[heads, relations]
        seen.append(scores.requires_grad)
        return scores

    test = np.array([[0, 0, 1]])
    evaluate_ranks(score, test, FilterIndex.build(test, RELATIONS), RELATIONS)
    assert seen == [False, False]
