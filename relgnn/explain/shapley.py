"""Shapley values: what each of several players is worth, however many of the others are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np

from relgnn.errors import InputError

EXACT = 10
"""Players up to which every coalition is asked about: 1,024."""
PAIRS = 128
"""Permutations that are drawn beyond it; each comes with its reverse."""

Game = Callable[[np.ndarray], np.ndarray]
"""Coalitions bool [K, n] -> what each is worth, float [K]."""


@dataclass(frozen=True)
class Shapley:
    """Values of the players of a game.

    Args:
        values: float [n].
        error: float [n], standard errors; 0 where they are exact.
        empty, full: what nobody and what everybody together is worth: the values add up to
            full − empty.
    """

    values: np.ndarray
    error: np.ndarray
    empty: float
    full: float


def shapley(
    game: Game,
    players: int,
    rng: np.random.Generator,
    exact: int = EXACT,
    pairs: int = PAIRS,
) -> Shapley:
    """The Shapley value of every player, exact where there are few.

        φ_i = Σ_{S ∌ i} |S|! (n − |S| − 1)! / n! · ( v(S ∪ i) − v(S) )

    Beyond `exact` players it is the mean gain of i over random orders in which the players come,
    each order beside its reverse (antithetic: who came early in one comes late in the other). Every
    order's gains add up to v(all) − v(none), and so do their means, whatever was drawn.

    Shapley, A Value for n-Person Games, 1953; Mitchell, Cooper, Frank and Holmes, Sampling
    Permutations for Shapley Value Estimation, JMLR 2022.

    Args:
        game: what coalitions are worth.
        players: n.
        rng: draws the orders.
        exact: players up to which all 2^n coalitions are asked about.
        pairs: orders that are drawn, at least 2.

    Raises:
        InputError: fewer than 2 orders are to be drawn, or a coalition is worth no finite number.
    """
    if players <= exact:
        return _exact(game, players)
    if pairs < 2:
        raise InputError(f"{pairs} orders of {players} players: draw at least 2, to know the error")
    return _sampled(game, players, rng, pairs)


def _exact(game: Game, players: int) -> Shapley:
    codes = np.arange(2**players)
    coalitions = (codes[:, None] >> np.arange(players)) & 1 == 1
    worth = _worth(game, coalitions)
    size = coalitions.sum(1)
    weight = np.array([
        factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)
    ])  # fmt: skip
    values = np.zeros(players)
    for player in range(players):
        without = codes[~coalitions[:, player]]
        gain = worth[without | 1 << player] - worth[without]
        values[player] = weight[size[without]] @ gain
    return Shapley(values, np.zeros(players), float(worth[0]), float(worth[-1]))


def _sampled(game: Game, players: int, rng: np.random.Generator, pairs: int) -> Shapley:
    orders = np.stack([rng.permutation(players) for _ in range(pairs)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1).reshape(-1, players)
    # place of each player in each order; at step k those of the first k places are there
    place = np.argsort(orders, axis=1)
    there = place[:, None, :] < np.arange(players + 1)[None, :, None]
    coalitions, which = np.unique(there.reshape(-1, players), axis=0, return_inverse=True)
    worth = _worth(game, coalitions)[which].reshape(len(orders), players + 1)
    gains = np.take_along_axis(np.diff(worth, axis=1), place, axis=1)
    by_pair = gains.reshape(pairs, 2, players).mean(1)
    error = by_pair.std(0, ddof=1) / pairs**0.5
    return Shapley(by_pair.mean(0), error, float(worth[0, 0]), float(worth[0, -1]))


def _worth(game: Game, coalitions: np.ndarray) -> np.ndarray:
    worth = np.asarray(game(coalitions), dtype=float)
    if worth.shape != (len(coalitions),) or not np.isfinite(worth).all():
        raise InputError(
            f"a game gave shape {worth.shape} for {len(coalitions)} coalitions, or a number that "
            "is not finite; give one finite number for each"
        )
    return worth
