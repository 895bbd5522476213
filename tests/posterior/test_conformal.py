"""A promise of precision is kept as often as it says, or not given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from relgnn.errors import InputError
from relgnn.posterior.conformal import BOUNDS, Certificate, binomial_tail, certify
from relgnn.runtime import rng

DRAWS, SIZE = 300, 400


def true_share(p: np.ndarray, power: float) -> np.ndarray:
    """Of p drawn evenly, how many are true; the score is no probability unless power is 1."""
    return p**power


def precision_above(threshold: float, power: float) -> float:
    """Of all with p >= threshold, p even on [0, 1]: the mean of p^power."""
    if threshold >= 1:
        return 1.0
    return float((1 - threshold ** (power + 1)) / (power + 1) / (1 - threshold))


def broken_promises(share: float, size: int = DRAWS) -> float:
    """As many as chance allows where each is broken with that probability."""
    return float(binom.ppf(0.999, size, share)) / size


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(("power", "precision", "delta"), [(0.5, 0.8, 0.1), (1, 0.7, 0.2)])
def test_the_promise_is_kept(bound: str, power: float, precision: float, delta: float) -> None:
    generator = rng("conformal", 0)
    kept = []
    for _ in range(DRAWS):
        p = generator.random(SIZE)
        true = generator.random(SIZE) < true_share(p, power)
        found = certify(p, true, precision, delta, bound=bound)
        if found.threshold is not None:
            kept.append(precision_above(found.threshold, power) >= precision)
    # measured against all draws: where nothing is promised, nothing is broken
    assert kept.count(False) / DRAWS <= broken_promises(delta)
    assert len(kept) > 0.5 * DRAWS


@pytest.mark.parametrize("c", [0.3, 0.6])
def test_the_promise_on_what_is_not_labelled_is_kept(c: float) -> None:
    """Labels are of a share c of the truth; the promise is on the rest, whose precision is
    (1 - c) m / (1 - c m) where m of all are true."""
    generator, precision, delta, size = rng("conformal", 1), 0.6, 0.1, 3000
    kept = []
    for _ in range(DRAWS):
        p = generator.random(size)
        labelled = generator.random(size) < c * true_share(p, 0.5)
        found = certify(p, labelled, precision, delta, label_frequency=c, at_least=int(50 / c))
        if found.threshold is not None:
            m = precision_above(found.threshold, 0.5)
            kept.append((1 - c) * m / (1 - c * m) >= precision)
    assert kept.count(False) / DRAWS <= broken_promises(delta)
    assert len(kept) > 0.5 * DRAWS


def test_label_frequencies_that_differ_keep_the_promise() -> None:
    """Half of the examples are labelled with .2, half with .5."""
    generator, size, delta = rng("conformal", 2), 3000, 0.1
    c = np.where(np.arange(size) % 2, 0.2, 0.5)
    broken = promised = 0
    for _ in range(100):
        p = generator.random(size)
        labelled = generator.random(size) < c * p**0.25
        found = certify(
            p, labelled, 0.7, delta, label_frequency=c, at_least=1000, bound="hoeffding_bentkus"
        )
        if found.threshold is not None:
            promised += 1
            m = precision_above(found.threshold, 0.25)
            rest = sum((1 - x) * m for x in (0.2, 0.5)) / sum(1 - x * m for x in (0.2, 0.5))
            broken += rest < 0.7
    assert broken / 100 <= broken_promises(delta, 100) and promised > 50


def test_weights_keep_the_promise_of_the_population_they_stand_for() -> None:
    """The sample has the probable twice as often as the population, and weights undo it."""
    generator, delta, precision = rng("conformal", 3), 0.2, 0.7
    broken = promised = 0
    for _ in range(150):
        p = np.sqrt(generator.random(3000))
        weights = np.minimum(1 / (2 * p), 5.0)
        true = generator.random(3000) < true_share(p, 0.5)
        found = certify(
            p, true, precision, delta, weights=weights, bound="hoeffding_bentkus", at_least=1000
        )
        if found.threshold is not None:
            promised += 1
            broken += precision_above(found.threshold, 0.5) < precision
    assert broken / 150 <= broken_promises(delta, 150) and promised > 75


@pytest.mark.parametrize("bound", BOUNDS)
def test_hopeless_data_get_no_promise(bound: str) -> None:
    """Truth has nothing to do with the score, and half is true."""
    generator, promised = rng("hopeless", 0), 0
    for _ in range(DRAWS):
        found = certify(generator.random(SIZE), generator.random(SIZE) < 0.5, 0.9, 0.1, bound=bound)
        promised += found.threshold is not None
    assert promised / DRAWS < 0.01


Sample = tuple[np.ndarray, np.ndarray]


def sample(seed: int, size: int = 300, power: float = 0.5) -> Sample:
    generator = rng("sample", seed)
    p = np.round(generator.random(size), 2)
    return p, generator.random(size) < true_share(p, power)


def lowest(found: Certificate) -> float:
    return 2.0 if found.threshold is None else found.threshold


seeds, shares = st.integers(0, 50), st.sampled_from([0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
deltas = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5, 0.9])


@settings(deadline=None)
@given(seeds, shares, shares, deltas, deltas, st.sampled_from([*BOUNDS]), st.booleans())
def test_who_wants_more_gets_no_lower_threshold(
    seed: int, one: float, other: float, delta: float, more: float, bound: str, labels: bool
) -> None:
    p, true = sample(seed)
    options = {"bound": bound, "label_frequency": 0.7 if labels else None}
    found = {
        (precision, d): lowest(certify(p, true, precision, d, **options))
        for precision in (one, other)
        for d in (delta, more)
    }
    low, high, rare, often = min(one, other), max(one, other), min(delta, more), max(delta, more)
    assert found[high, rare] >= found[low, rare] >= found[low, often]
    assert found[high, rare] >= found[high, often]


@settings(deadline=None)
@given(seeds, shares, deltas, st.sampled_from([0.0, 0.3, 0.77]), st.sampled_from([1, 20, 1000]))
def test_the_fixed_sequence_is_the_naive_one(
    seed: int, precision: float, delta: float, floor: float, at_least: int
) -> None:
    p, true = sample(seed, 120, 0.2)
    last, before = None, 0
    for threshold in sorted({x / 200 for x in range(1, 201) if x / 200 >= floor} | {floor})[::-1]:
        reached = p >= threshold
        count = int(reached.sum())
        if count < min(at_least, (p >= floor).sum()) or count == before:
            continue
        before = count
        if binom.cdf((~true[reached]).sum(), count, 1 - precision) > delta:
            break
        last = threshold, count
    found = certify(p, true, precision, delta, floor=floor, at_least=at_least)
    assert found.threshold == (last[0] if last else None)
    if last:
        assert found.items == last[1] and found.true == true[p >= last[0]].sum()


@given(seeds)
def test_the_order_of_rows_is_no_matter(seed: int) -> None:
    p, true = sample(seed)
    order = rng("rows", seed).permutation(len(p))
    assert certify(p, true, 0.7, 0.1) == certify(p[order], true[order], 0.7, 0.1)


def test_equal_weights_and_one_frequency_change_nothing() -> None:
    p, true = sample(0, 1000)
    plain = certify(p, true, 0.7, 0.1)
    assert certify(p, true, 0.7, 0.1, weights=np.full(1000, 0.3)).threshold == plain.threshold
    one = certify(p, true, 0.5, 0.1, label_frequency=0.8)
    assert one.threshold is not None
    assert certify(p, true, 0.5, 0.1, label_frequency=np.full(1000, 0.8)) == one


def test_nothing_is_promised_below_what_the_sample_reaches() -> None:
    found = certify(np.full(100, 0.93), np.ones(100, dtype=bool), 0.9, 0.1)
    assert found.threshold == 0.93 and (found.items, found.true) == (100, 100)


def test_a_small_sample_without_a_mistake_is_enough_where_it_can_be() -> None:
    """.9^22 < .1 < .9^21."""
    for size, promised in ((21, False), (22, True)):
        found = certify(np.full(size, 0.8), np.ones(size, dtype=bool), 0.9, 0.1)
        assert (found.threshold is not None) == promised
        assert found.p_value == pytest.approx(0.9**size)


def test_what_cannot_be_shown_is_not_promised() -> None:
    sure = np.full(500, 0.99), np.ones(500, dtype=bool)
    assert certify(*sure, 1.0, 0.1).threshold is None
    # where all that is true is labelled, the rest is false
    assert certify(*sure, 0.5, 0.1, label_frequency=1.0).threshold is None
    assert certify(np.zeros(0), np.zeros(0, dtype=bool), 0.5, 0.1) == Certificate(None, 0.5, 0.1)
    assert certify(*sure, 0.5, 0.1, floor=0.995) == Certificate(None, 0.5, 0.1)


def test_the_binomial_is_never_beaten_by_its_bound() -> None:
    count = np.arange(1, 400)
    for loss in (0.0, 0.05, 0.1, 0.3):
        whole = np.round(count * loss) / count
        risk = np.full(len(count), 0.1)
        exact = binomial_tail(whole, count, risk)
        bounded = BOUNDS["hoeffding_bentkus"](whole, count, risk)
        assert (bounded >= exact - 1e-12).all() and (bounded <= 1).all()


def test_a_certificate_is_json() -> None:
    p, true = sample(1)
    found = certify(p, true, 0.6, 0.1)
    assert Certificate(**found.to_json()) == found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"p": np.zeros(2)}, "same length"),
        ({"p": np.array([0.1, 0.2, 1.2])}, "outside"),
        ({"p": np.array([0.1, 0.2, np.nan])}, "outside"),
        ({"weights": np.array([1.0, -1.0, 1.0])}, "weight below 0"),
        ({"weights": np.array([1.0, 2.0, 1.0])}, "take bound hoeffding_bentkus"),
        ({"label_frequency": np.array([0.1, 0.2, 0.2])}, "label frequency differs"),
        ({"precision": 0.0}, "precision of 0.0"),
        ({"delta": 1.0}, "between 0 and 1"),
        ({"bound": "gauss"}, "unknown"),
        ({"label_frequency": 1.5}, "label frequency"),
    ],
)
def test_bad_input_is_an_error(change: dict, told: str) -> None:
    sound = {
        "p": np.array([0.1, 0.2, 0.3]), "true": np.ones(3, dtype=bool), "precision": 0.5,
        "delta": 0.1,
    }  # fmt: skip
    with pytest.raises(InputError, match=told):
        certify(**{**sound, **change})
