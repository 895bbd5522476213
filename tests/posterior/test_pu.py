"""Planted label frequencies are found; probabilities follow Elkan and Noto."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from relgnn.errors import InputError
from relgnn.posterior.pu import (
    LABEL_FREQUENCY,
    best_bin,
    best_bin_proportion,
    elkan_noto_mean,
    elkan_noto_quantile,
    pu_probability,
    unlabelled_probability,
)
from relgnn.runtime import rng


def planted(c, prior=0.3, size=40_000, distance=8.0):
    """Return g = P(labelled | x), labels and truth of two Gaussians `distance` apart."""
    generator = rng("pu", 0)
    true = generator.random(size) < prior
    x = generator.standard_normal(size) + distance * true
    posterior = expit(distance * x - distance**2 / 2 + np.log(prior / (1 - prior)))
    labelled = true & (generator.random(size) < c)
    return c * posterior, labelled, true


@pytest.mark.parametrize("c", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("estimator", LABEL_FREQUENCY)
def test_the_label_frequency_is_found_where_classes_separate(estimator, c):
    g, labelled, _ = planted(c)
    assert LABEL_FREQUENCY[estimator](g, labelled) == pytest.approx(c, rel=0.06)


@pytest.mark.parametrize("c", [0.2, 0.6])
def test_overlap_biases_the_mean_but_not_the_others(c):
    g, labelled, _ = planted(c, distance=2.5)
    assert elkan_noto_mean(g, labelled) < 0.9 * c
    assert elkan_noto_quantile(g, labelled) == pytest.approx(c, rel=0.1)
    assert best_bin(g, labelled) == pytest.approx(c, rel=0.1)


def test_the_best_bin_needs_only_the_order():
    g, labelled, _ = planted(0.4)
    assert best_bin(g**3, labelled) == pytest.approx(best_bin(g, labelled))


def test_the_best_bin_finds_the_share_of_positives():
    generator = rng("shares", 0)
    positive = generator.normal(3, 1, 5000)
    unlabelled = np.concatenate([generator.normal(3, 1, 2000), generator.normal(0, 1, 8000)])
    assert best_bin_proportion(positive, unlabelled) == pytest.approx(0.2, abs=0.03)
    assert best_bin_proportion(positive, generator.normal(0, 1, 10_000)) < 0.03
    assert best_bin_proportion(positive, positive) == pytest.approx(1.0, abs=0.02)


def test_probabilities_keep_their_promise_among_the_unlabelled():
    g, labelled, true = planted(0.5, distance=2.0)
    p, truth = unlabelled_probability(g, 0.5)[~labelled], true[~labelled]
    assert p.mean() == pytest.approx(truth.mean(), abs=0.01)
    for low, high in ((0.1, 0.3), (0.3, 0.7), (0.7, 1.0)):
        within = (p >= low) & (p < high)
        assert p[within].mean() == pytest.approx(truth[within].mean(), abs=0.04)
    assert pu_probability(g, 0.5).mean() == pytest.approx(true.mean(), abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 1))
def test_probabilities_are_probabilities_in_the_order_of_g(values, c):
    g = np.sort(np.array(values))
    for p in (pu_probability(g, c), unlabelled_probability(g, c)):
        assert ((p >= 0) & (p <= 1)).all()
        assert (np.diff(p) >= -1e-12).all()
    # to be unlabelled is never a reason to be believed
    assert (unlabelled_probability(g, c) <= pu_probability(g, c) + 1e-9).all()


def test_where_every_truth_is_labelled_the_rest_is_false():
    assert unlabelled_probability(np.array([0.0, 0.5, 1.0]), 1.0).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("estimator", LABEL_FREQUENCY.values())
def test_bad_input_is_an_error(estimator):
    with pytest.raises(InputError, match="needs both kinds"):
        estimator(np.zeros(3), np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match="outside"):
        estimator(np.array([0.1, np.nan]), np.array([True, False]))


def test_an_estimate_is_never_zero():
    assert elkan_noto_mean(np.zeros(2), np.array([True, False])) > 0


@pytest.mark.parametrize("c", [0.0, 1.1, float("nan")])
def test_a_frequency_outside_its_range_is_an_error(c):
    for probability in (pu_probability, unlabelled_probability):
        with pytest.raises(InputError, match="label frequency"):
            probability(np.array([0.5]), c)
