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
    frequency_by_relation,
    frequency_of,
    labelled_probability,
    pu_probability,
    ratio_by_relation,
    tice,
    unlabelled_probability,
)
from relgnn.runtime import rng


def planted(c, prior=0.3, size=40_000, distance=8.0, seed=0):
    """Return g = P(labelled | x), labels and truth of two Gaussians `distance` apart."""
    generator = rng("pu", seed)
    true = generator.random(size) < prior
    x = generator.standard_normal(size) + distance * true
    posterior = expit(distance * x - distance**2 / 2 + np.log(prior / (1 - prior)))
    labelled = true & (generator.random(size) < c)
    return c * posterior, labelled, true


@pytest.mark.parametrize("c", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("estimator", sorted(set(LABEL_FREQUENCY) - {"tice"}))
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


@pytest.mark.parametrize("c", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("distance", [1.5, 2.5, 8.0])
def test_tice_is_a_lower_bound(c, distance):
    found = [tice(*planted(c, size=3000, distance=distance, seed=s)[:2]) for s in range(30)]
    assert np.mean(np.array(found) > c) <= 0.1
    assert np.mean(found) > 0.5 * c


@pytest.mark.parametrize(("c", "distance"), [(0.4, 1.5), (0.8, 1.5), (0.4, 2.5), (0.8, 2.5)])
def test_tice_is_nearer_than_the_mean_where_classes_overlap(c, distance):
    draws = [planted(c, size=12_000, distance=distance, seed=s)[:2] for s in range(20)]
    bias = [abs(np.mean([f(*draw) for draw in draws]) - c) for f in (tice, elkan_noto_mean)]
    assert bias[0] < 0.95 * bias[1]


def test_tice_is_the_naive_search_and_needs_only_the_order():
    g, labelled, _ = planted(0.4, size=700, distance=2.0)
    g = np.round(g, 2)  # equals stand or fall together
    ordered, bounds = np.sort(g)[::-1], [labelled.mean()]
    delta, c = max(0.025, 1 / (1 + 0.004 * 700)), np.linspace(0, 1, 100_001)
    for size in (10, 20, 40, 80, 160, 320, 640, 700):
        reached = g >= ordered[size - 1]
        spread = c * (1 - c) * (1 - delta) / (delta * reached.sum())
        bounds.append(c[c >= labelled[reached].mean() - spread**0.5][0])
    assert tice(g, labelled) == pytest.approx(max(bounds), abs=2e-5)
    order = rng("rows", 0).permutation(700)
    assert tice((g**3)[order], labelled[order]) == pytest.approx(max(bounds), abs=2e-5)
    assert tice(np.array([0.5, 0.4]), np.array([True, False])) == 0.5


def planted_relations(seed, distance=2.5, relations=12, spread=(3, 6)):
    """Relations of their own size, prior and label frequency; g knows none of the three."""
    generator = rng("pu relations", seed)
    c = generator.beta(*spread, relations)
    relation = np.repeat(np.arange(relations), generator.integers(60, 2000, relations))
    true = generator.random(len(relation)) < generator.uniform(0.1, 0.4, relations)[relation]
    x = generator.standard_normal(len(relation)) + distance * true
    labelled = true & (generator.random(len(relation)) < c[relation])
    g = c.mean() * expit(distance * x - distance**2 / 2 - 1.1)
    return g, labelled, relation, c


@pytest.mark.parametrize("distance", [1.5, 2.5, 4.0])
def test_frequencies_by_relation_are_nearer_than_one_for_all(distance):
    error = []
    for seed in range(25):
        g, labelled, relation, c = planted_relations(seed, distance)
        mean = elkan_noto_mean(g, labelled)
        found = frequency_by_relation(g, labelled, relation, len(c), mean)
        error.append([np.abs(found - c).mean(), np.abs(mean - c).mean()])
    ours, theirs = np.mean(error, 0)
    assert ours < 0.8 * theirs


def test_relations_shrink_by_how_little_they_show():
    # of 40 sure ones 4 and 36 are labelled, of 4 two; the last relation has no label
    parts = [(40, 4), (40, 36), (4, 2), (30, 0)]
    relation = np.repeat(np.arange(4), [n for n, _ in parts])
    labelled = np.concatenate([np.arange(n) < k for n, k in parts])
    found = frequency_by_relation(np.full(len(relation), 0.5), labelled, relation, 6, 0.4)
    assert found[3:].tolist() == pytest.approx([0.4] * 3)
    assert 0.1 < found[0] < 0.2 and 0.8 < found[1] < 0.9
    assert 0.1 < 0.5 - found[2] + 0.1 < 0.2  # between what it shows, .5, and .4
    alike = np.concatenate([np.arange(n) < 0.4 * n for n, _ in parts])
    same = frequency_by_relation(np.full(len(relation), 0.5), alike, relation, 4, 0.4)
    assert same == pytest.approx(0.4, abs=0.02)
    assert frequency_by_relation(np.full(2, 0.5), labelled[3:5], relation[:2], 2, 1.0).tolist() == [
        1.0, 1.0,
    ]  # fmt: skip


@given(st.integers(0, 30))
def test_frequencies_by_relation_ignore_the_order_of_rows(seed):
    g, labelled, relation, c = planted_relations(seed % 3)
    order = rng("rows", seed).permutation(len(g))
    one = frequency_by_relation(g, labelled, relation, len(c), 0.3)
    other = frequency_by_relation(g[order] ** 2, labelled[order], relation[order], len(c), 0.3)
    np.testing.assert_allclose(one, other)
    assert ((one > 0) & (one <= 1)).all()


def test_ratios_tell_what_a_model_for_all_relations_does_not_know():
    g, labelled, relation, _ = planted_relations(0)
    found = ratio_by_relation(g, labelled, relation, 14)
    each = [labelled[relation == r].sum() / g[relation == r].sum() for r in range(12)]
    assert np.corrcoef(found[:12], each)[0, 1] > 0.99 and np.ptp(each) > 0.5
    assert (np.abs(found[:12] - 1) <= np.abs(np.array(each) - 1) + 1e-12).all()
    assert found[12:].tolist() == [1, 1]
    informed = np.clip(g * np.array(each)[relation], 0, 1)
    assert ratio_by_relation(informed, labelled, relation, 12) == pytest.approx(1, abs=0.02)


def test_a_frequency_of_each_is_that_of_its_relation():
    relation = np.array([1, 0, 1])
    assert frequency_of([0.2, 0.7], relation).tolist() == [0.7, 0.2, 0.7]
    g = np.array([0.1, 0.15, 0.6])
    for probability in (pu_probability, unlabelled_probability):
        each = probability(g, frequency_of([0.2, 0.7], relation))
        alone = [probability(np.array([x]), c)[0] for x, c in zip(g, (0.7, 0.2, 0.7), strict=True)]
        assert each.tolist() == alone
        assert (probability(g, frequency_of(0.7, relation)) == probability(g, 0.7)).all()


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_the_labelled_probability_is_the_inverse(p, c):
    assert unlabelled_probability(labelled_probability(p, c), c) == pytest.approx(p, abs=1e-9)


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
    for probability in (pu_probability, unlabelled_probability, labelled_probability):
        with pytest.raises(InputError, match="label frequency"):
            probability(np.array([0.5]), c)
    with pytest.raises(InputError, match="label frequency"):
        frequency_by_relation(np.array([0.5, 0.1]), np.array([True, False]), np.zeros(2, int), 1, c)
