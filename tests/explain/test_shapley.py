"""Shapley values: the axioms that define them, exactly and by sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relgnn.errors import InputError
from relgnn.explain.shapley import Game, shapley

METHODS = {"exact": 10, "sampled": 0}


def table_game(worth: np.ndarray) -> Game:
    """A game whose coalitions are worth what a table [2^n] says."""
    return lambda coalitions: worth[coalitions @ (1 << np.arange(coalitions.shape[1]))]


def drawn_game(players: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=2**players)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def swapped(players: int, one: int, other: int) -> np.ndarray:
    """Where each coalition is when two players change places, [2^n]."""
    codes = np.arange(2**players)
    bits = (codes[:, None] >> np.arange(players)) & 1
    order = np.arange(players)
    order[[one, other]] = other, one
    return bits[:, order] @ (1 << np.arange(players))


@pytest.mark.parametrize("exact", METHODS.values(), ids=METHODS.keys())
@given(players=st.integers(1, 5), seed=st.integers(0, 1000))
def test_efficiency_values_add_up_to_the_difference(exact: int, players: int, seed: int) -> None:
    worth = drawn_game(players, seed)
    found = shapley(table_game(worth), players, generator(), exact, pairs=8)
    assert (found.empty, found.full) == (worth[0], worth[-1])
    assert found.values.sum() == pytest.approx(found.full - found.empty, abs=1e-9)


@given(players=st.integers(2, 5), seed=st.integers(0, 1000))
def test_symmetry_who_is_worth_the_same_gets_the_same(players: int, seed: int) -> None:
    worth = drawn_game(players, seed)
    worth = worth + worth[swapped(players, 0, 1)]
    found = shapley(table_game(worth), players, generator())
    assert found.values[0] == pytest.approx(found.values[1], abs=1e-9)


@pytest.mark.parametrize("exact", METHODS.values(), ids=METHODS.keys())
@given(players=st.integers(1, 5), seed=st.integers(0, 1000), own=st.floats(-3, 3))
def test_dummy_who_always_adds_the_same_gets_it(
    exact: int, players: int, seed: int, own: float
) -> None:
    others = drawn_game(players - 1, seed) if players > 1 else np.zeros(1)
    worth = np.concatenate([others, others + own])
    found = shapley(table_game(worth), players, generator(), exact, pairs=8)
    assert found.values[-1] == pytest.approx(own, abs=1e-9)
    assert found.error[-1] == pytest.approx(0, abs=1e-9)


@given(players=st.integers(1, 5), seeds=st.tuples(st.integers(0, 500), st.integers(501, 1000)))
def test_additivity_a_sum_of_games(players: int, seeds: tuple[int, int]) -> None:
    games = [drawn_game(players, seed) for seed in seeds]
    one, other, both = (
        shapley(table_game(worth), players, generator()).values for worth in (*games, sum(games))
    )
    np.testing.assert_allclose(one + other, both, atol=1e-9)


def test_gloves_by_hand() -> None:
    """One left glove and two right ones; a pair is worth 1 (the textbook's 2/3, 1/6, 1/6)."""

    def pairs(coalitions: np.ndarray) -> np.ndarray:
        return coalitions[:, 0] & coalitions[:, 1:].any(1)

    np.testing.assert_allclose(shapley(pairs, 3, generator()).values, [2 / 3, 1 / 6, 1 / 6])


def test_sampling_comes_near_and_knows_how_near() -> None:
    players = 6
    game = table_game(drawn_game(players, 3))
    right = shapley(game, players, generator())
    assert (right.error == 0).all()
    few, many = (shapley(game, players, generator(), 0, pairs) for pairs in (50, 3000))
    assert (np.abs(few.values - right.values) < 4 * few.error).all()
    assert (np.abs(many.values - right.values) < 4 * many.error).all()
    assert (many.error < few.error / 4).all() and (many.error > 0).all()


def test_a_reverse_beside_each_order_makes_games_of_pairs_exact() -> None:
    """Worth by pairs: the gains of an order and of its reverse average to the value itself."""
    rng = np.random.default_rng(1)
    single, together = rng.normal(size=12), np.triu(rng.normal(size=(12, 12)), 1)

    def game(coalitions: np.ndarray) -> np.ndarray:
        there = coalitions.astype(float)
        return there @ single + np.einsum("ki,ij,kj->k", there, together, there)

    found = shapley(game, 12, generator(), pairs=2)
    np.testing.assert_allclose(found.values, single + (together + together.T).sum(1) / 2)


def test_nobody_plays() -> None:
    found = shapley(lambda coalitions: np.full(len(coalitions), 2.0), 0, generator())
    assert (len(found.values), found.empty, found.full) == (0, 2.0, 2.0)


@pytest.mark.parametrize("worth", [np.nan, np.inf])
def test_a_worth_that_is_no_number(worth: float) -> None:
    with pytest.raises(InputError, match="one finite number for each"):
        shapley(lambda coalitions: np.full(len(coalitions), worth), 2, generator())


def test_a_game_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"gave shape \(3,\) for 4 coalitions"):
        shapley(lambda coalitions: np.zeros(3), 2, generator())


def test_one_order_knows_no_error() -> None:
    with pytest.raises(InputError, match="1 orders of 11 players: draw at least 2"):
        shapley(lambda coalitions: np.zeros(len(coalitions)), 11, generator(), pairs=1)
