"""Expectation-maximisation: exact where the M step is, and its objective never falls there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy.special import logit

from relgnn.errors import InputError
from relgnn.posterior.em import e_step, free_energy, label_frequency

RELATIONS, COUNT = 4, 3000
RATES = np.array([0.05, 0.3, 0.6, 0.9])


class Toy:
    """A graph model with one probability for each relation, so that its M step is a mean.

    The text is a number that is normal with mean 1 where a triple is true and -1 where it is not.
    """

    def __init__(self, seed: int, frequency: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.relation = rng.integers(0, RELATIONS, COUNT)
        self.true = rng.random(COUNT) < RATES[self.relation]
        signal = rng.normal(np.where(self.true, 1.0, -1.0), 1.0)
        self.text = 2 * signal  # log of the ratio of the two densities
        self.given = self.true & (rng.random(COUNT) < frequency)

    def fit(self, q: np.ndarray) -> np.ndarray:
        total = np.bincount(self.relation, minlength=RELATIONS)
        return np.clip(np.bincount(self.relation, q, RELATIONS) / total, 1e-6, 1 - 1e-6)


@settings(max_examples=20, deadline=None)
@drawn(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.01, 0.9))
def test_the_objective_never_falls(seed: int, start: float, frequency: float) -> None:
    toy = Toy(seed)
    rates, f = np.full(RELATIONS, start), frequency
    q = np.where(toy.given, 1.0, start)
    value = free_energy(q, toy.text, rates[toy.relation], toy.given, f)
    for _ in range(15):
        graph = rates[toy.relation]
        q = e_step(toy.text, graph, toy.given, f)
        steps = [free_energy(q, toy.text, graph, toy.given, f)]
        rates = toy.fit(q)
        steps.append(free_energy(q, toy.text, rates[toy.relation], toy.given, f))
        f = label_frequency(q, toy.given)
        steps.append(free_energy(q, toy.text, rates[toy.relation], toy.given, f))
        for step in steps:
            assert step >= value - 1e-8 * abs(value)
            value = step


def test_it_finds_rates_and_label_frequency() -> None:
    toy = Toy(0)
    rates, f = np.full(RELATIONS, 0.5), 0.5
    for _ in range(200):
        q = e_step(toy.text, rates[toy.relation], toy.given, f)
        rates, f = toy.fit(q), label_frequency(q, toy.given)
    np.testing.assert_allclose(rates, RATES, atol=0.05)
    assert f == pytest.approx(0.3, abs=0.03)
    # and as many are true as it expects
    assert q.sum() == pytest.approx(toy.true.sum(), rel=0.05)


def test_the_e_step_is_the_best_q() -> None:
    toy = Toy(3)
    graph = RATES[toy.relation]
    best = e_step(toy.text, graph, toy.given, 0.3)
    value = free_energy(best, toy.text, graph, toy.given, 0.3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = np.clip(best + rng.normal(0, 0.05, COUNT), 1e-9, 1 - 1e-9)
        other = np.where(toy.given, 1.0, other)
        assert free_energy(other, toy.text, graph, toy.given, 0.3) < value
    # there it is the log-likelihood itself
    odds = np.exp(toy.text)
    each = np.where(toy.given, graph * odds * 0.3, graph * odds * 0.7 + 1 - graph)
    assert value == pytest.approx(np.log(each).sum())


def test_a_given_triple_is_true_and_the_others_less_likely_for_being_not_given() -> None:
    text, graph = np.zeros(2), np.array([0.5, 0.5])
    q = e_step(text, graph, np.array([True, False]), 0.5)
    assert q[0] == 1 and logit(q[1]) == pytest.approx(np.log(0.5))
    assert free_energy(np.array([0.5, 0.5]), text, graph, np.array([True, False]), 0.5) == -np.inf


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"outside of \(0, 1\)"):
        e_step(np.zeros(1), np.array([1.0]), np.array([False]), 0.5)
    with pytest.raises(InputError, match="label frequency of 1; expected"):
        free_energy(np.ones(1), np.zeros(1), np.array([0.5]), np.array([False]), 1.0)
