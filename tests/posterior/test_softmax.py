"""Calibration of many labels: planted faults are found, and perfect models are in the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from relgnn.errors import InputError
from relgnn.posterior.softmax import LabelCalibrator, fit_temperature, softmax_report


def planted(temperature: float, size: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times those that the labels are drawn from."""
    random = np.random.default_rng(3)
    true = 2 * random.normal(size=(size, 5))
    labels = np.array([random.choice(5, p=p) for p in softmax(true, axis=1)])
    return temperature * true, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    logits, labels = planted(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.1)


def test_the_report_tells_overconfidence_from_chance() -> None:
    random = np.random.default_rng(0)
    logits, labels = planted(4.0)
    before = softmax_report(logits, labels, random, draws=200)
    after = softmax_report(logits / fit_temperature(logits, labels), labels, random, draws=200)
    assert before["ece"] > before["ece_range"][1]
    assert after["ece"] <= after["ece_range"][1]
    assert after["log_loss"] < before["log_loss"]


def test_a_shift_of_all_logits_changes_nothing() -> None:
    logits, labels = planted(2.0, 500)
    first, second = (
        softmax_report(x, labels, np.random.default_rng(0), draws=20) for x in (logits, logits + 7)
    )
    for name, value in first.items():
        assert value == pytest.approx(second[name])


@pytest.mark.parametrize("logits", [np.zeros((0, 3)), np.full((2, 3), np.nan)])
def test_nothing_and_what_is_not_finite_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(InputError, match="calibration got"):
        fit_temperature(logits, np.zeros(len(logits), dtype=int))


def overfitted() -> tuple[np.ndarray, np.ndarray]:
    """Sure logits, a quarter of whose labels are drawn anew whatever they say."""
    random = np.random.default_rng(5)
    logits, labels = planted(1.0, 6000)
    return 3 * logits, np.where(random.random(6000) < 0.25, random.integers(0, 5, 6000), labels)


def test_the_curve_mends_what_a_temperature_cannot() -> None:
    random = np.random.default_rng(0)
    logits, labels = overfitted()
    fitted, held = slice(0, 3000), slice(3000, None)
    calibrator = LabelCalibrator.fit(logits[fitted], labels[fitted])
    cold = logits[held] / calibrator.temperature
    one = softmax_report(cold, labels[held], random, draws=200)
    both = softmax_report(calibrator(logits[held]), labels[held], random, draws=200)
    assert one["ece"] > one["ece_range"][1]
    assert both["ece"] <= both["ece_range"][1]
    assert both["log_loss"] < one["log_loss"]


def test_calibrated_probabilities_sum_to_one_and_keep_the_order_of_confidence() -> None:
    logits, labels = overfitted()
    calibrator = LabelCalibrator.fit(logits, labels)
    p = np.exp(calibrator(logits))
    np.testing.assert_allclose(p.sum(1), 1)
    second, top = np.sort(p, axis=1)[:, -2:].T
    free = top > second + 1e-9  # the others are bounded by the second
    assert 0.5 < free.mean() < 1
    before = log_softmax(logits / calibrator.temperature, axis=1).max(1)[free]
    assert (np.diff(top[free][np.argsort(before, kind="stable")]) >= -1e-12).all()


FEW_VALUES = arrays(
    float, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(-40, 40)
)


@given(FEW_VALUES, st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.05, 20), st.floats(-9, 9))
def test_the_likeliest_label_stays_so(
    logits: np.ndarray, temperature: float, a: float, b: float, m: float
) -> None:
    found = LabelCalibrator(temperature, a, b, m)(logits)
    assert (found.argmax(1) == logits.argmax(1)).all()
    assert (np.exp(found).argmax(1) == logits.argmax(1)).all()


def test_the_curve_is_bounded_only_where_the_second_would_pass() -> None:
    logits = np.log([[0.5, 0.4, 0.1], [0.9, 0.06, 0.04]])
    found = np.exp(LabelCalibrator(1.0, m=-1.0)(logits))
    # σ(-1) = .27 would leave the second 4/5 of .73; so both get .4 / (1 - .5 + .4)
    np.testing.assert_allclose(found[0], [4 / 9, 4 / 9, 1 / 9], atol=1e-9)
    q = 1 / (1 + np.exp(1 - np.log(9)))
    np.testing.assert_allclose(found[1], [q, 0.6 * (1 - q), 0.4 * (1 - q)], atol=1e-9)


def test_the_idle_curve_is_the_temperature_alone() -> None:
    logits, _ = planted(2.0, 300)
    np.testing.assert_allclose(
        LabelCalibrator(2.0)(logits), log_softmax(logits / 2, axis=1), atol=1e-9
    )


def test_one_example_that_is_right_gives_finite_numbers() -> None:
    logits = np.array([[90.0, 0.0, 0.0]])
    assert np.isfinite(LabelCalibrator.fit(logits, np.array([0]))(logits)).all()


def test_a_label_calibrator_survives_json() -> None:
    calibrator = LabelCalibrator.fit(*overfitted())
    assert LabelCalibrator.from_json(calibrator.to_json()) == calibrator
    with pytest.raises(InputError, match="expected the numbers temperature"):
        LabelCalibrator.from_json({"temperature": 1.0})
