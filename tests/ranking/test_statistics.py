"""Paired comparisons: what they cover, what they ignore, and that they repeat."""

from __future__ import annotations

import numpy as np
import pytest

from relgnn.errors import InputError
from relgnn.ranking.statistics import group_gaps, mean_std, paired_bootstrap
from relgnn.runtime import rng


def paired(shift, seeds=3, queries=200, noise=0.1, stream=0):
    generator = rng("paired", stream)
    b = generator.random((seeds, queries))
    return b + shift + noise * generator.standard_normal(b.shape), b


def test_mean_and_sample_deviation():
    assert mean_std([1.0, 2.0, 3.0]) == (2.0, 1.0)
    mean, deviation = mean_std([4.0])
    assert mean == 4.0
    assert np.isnan(deviation)
    with pytest.raises(InputError, match="no value"):
        mean_std([])


def test_the_interval_holds_the_mean_and_a_clear_gain_is_above_zero():
    a, b = paired(0.05)
    found = paired_bootstrap(a, b, samples=2000)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found.low > 0.02


def test_swapping_the_models_mirrors_the_interval():
    a, b = paired(0.05)
    found, mirrored = paired_bootstrap(a, b, samples=500), paired_bootstrap(b, a, samples=500)
    assert mirrored.mean == pytest.approx(-found.mean)
    assert mirrored.low == pytest.approx(-found.high)


def test_it_repeats_with_the_seed():
    a, b = paired(0.01)
    assert paired_bootstrap(a, b, samples=300, seed=1) == paired_bootstrap(
        a, b, samples=300, seed=1
    )
    assert paired_bootstrap(a, b, samples=300, seed=1) != paired_bootstrap(
        a, b, samples=300, seed=2
    )


def test_a_constant_difference_has_no_width():
    b = rng("constant", 0).random((2, 50))
    units = np.arange(50) // 3
    found = paired_bootstrap(b + 0.25, b, units, samples=200)
    assert (found.low, found.mean, found.high) == pytest.approx((0.25,) * 3)


def test_both_sides_of_a_triple_are_drawn_together():
    # The two sides of a triple always agree: as separate units the width shrinks by sqrt(2).
    half = rng("sides", 0).standard_normal((1, 400))
    a, b = np.concatenate([half, half], 1), np.zeros((1, 800))
    together = paired_bootstrap(a, b, np.tile(np.arange(400), 2), samples=4000)
    apart = paired_bootstrap(a, b, samples=4000)
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(2), rel=0.1)


def test_spread_over_seeds_widens_the_interval():
    a, b = paired(0.0, seeds=5, noise=0.01)
    across = a + np.linspace(-0.1, 0.1, 5)[:, None]
    narrow, wide = paired_bootstrap(a, b, samples=500), paired_bootstrap(across, b, samples=500)
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for stream in range(100):
        a, b = paired(0.1, seeds=1, queries=100, noise=1.0, stream=stream)
        found = paired_bootstrap(a, b, samples=400)
        covered += found.low <= 0.1 <= found.high
    assert 88 <= covered <= 100


def test_values_that_do_not_pair_are_an_error():
    with pytest.raises(InputError, match="expected the same"):
        paired_bootstrap(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="one per query"):
        paired_bootstrap(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2, dtype=np.int64))


def test_a_gap_is_the_difference_of_two_means_whose_units_are_drawn_whole() -> None:
    draws = np.random.default_rng(0)
    inside = np.repeat([True, False], [300, 500])
    values = draws.normal(size=(2, 800))
    for side in (inside, ~inside):  # the first measure's gap is .5, the second's none
        values[:, side] -= values[:, side].mean(1, keepdims=True)
    values[0] += 0.5 * inside
    found = group_gaps(values, inside, np.arange(800))
    error = np.sqrt(1 / 300 + 1 / 500)  # of the difference of two means of unit variance
    for one, row in zip(found, values, strict=True):
        assert one.mean == pytest.approx(row[inside].mean() - row[~inside].mean())
        assert one.high - one.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found[0].low > 0 and found[1].low < 0 < found[1].high
    [other] = group_gaps(values[:1], ~inside, np.arange(800))
    assert (other.mean, other.low) == pytest.approx((-found[0].mean, -found[0].high), abs=1e-9)
    # ten questions about the same person are worth one
    again = np.repeat(np.arange(800), 10)
    [ten] = group_gaps(values[:1].repeat(10, 1), inside.repeat(10), again)
    assert (ten.low, ten.high) == pytest.approx((found[0].low, found[0].high), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "inside", "units", "said"),
    [
        (np.zeros(3), np.array([True, False, True]), np.arange(3), "values have shape"),
        (np.zeros((1, 3)), np.array([True, False]), np.arange(3), "inside"),
        (np.zeros((1, 3)), np.ones(3, bool), np.arange(3), "a gap needs both"),
        (np.zeros((1, 3)), np.zeros(3, bool), np.arange(3), "a gap needs both"),
    ],
)
def test_a_gap_needs_two_sides(
    values: np.ndarray, inside: np.ndarray, units: np.ndarray, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        group_gaps(values, inside, units)
