"""A contract suite for every calibrator; planted miscalibration; the error measures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from relgnn.errors import InputError
from relgnn.posterior.calibration import (
    CALIBRATORS,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    brier,
    calibration_error_by_chance,
    calibration_report,
    calibrator_from_json,
    expected_calibration_error,
    log_loss,
    reliability_bins,
)
from relgnn.runtime import rng


def planted(temperature=1.0, bias=0.0, size=20_000):
    """Return logits and labels with P(1) = sigmoid(logit / temperature + bias)."""
    generator = rng("planted", 0)
    logits = 3 * generator.standard_normal(size)
    labels = generator.random(size) < expit(logits / temperature + bias)
    return logits, labels.astype(int)


@pytest.mark.parametrize("kind", CALIBRATORS)
class TestEveryCalibrator:
    @pytest.fixture
    def fitted(self, kind):
        return CALIBRATORS[kind]().fit(*planted(2.0, size=500))

    def test_probabilities_keep_the_order_of_scores(self, fitted):
        p = fitted(np.linspace(-50, 50, 1001))
        assert ((p >= 0) & (p <= 1)).all()
        assert (np.diff(p) >= 0).all()
        assert p[-1] > p[0]

    def test_json_gives_back_the_same_map(self, fitted, kind):
        again = calibrator_from_json(json.loads(json.dumps(fitted.to_json())))
        scores = np.linspace(-20, 20, 101)
        assert again.kind == kind
        np.testing.assert_array_equal(again(scores), fitted(scores))

    def test_the_order_of_examples_is_no_matter(self, fitted, kind):
        logits, labels = planted(2.0, size=500)
        order = rng("order", 0).permutation(500)
        again = CALIBRATORS[kind]().fit(logits[order], labels[order])
        np.testing.assert_allclose(again(logits), fitted(logits), atol=1e-5)

    def test_a_weight_of_two_is_a_copy(self, kind):
        logits, labels = planted(size=300)
        weights = 1.0 + np.arange(300) % 2
        copied = np.repeat(np.arange(300), weights.astype(int))
        weighted = CALIBRATORS[kind]().fit(logits, labels, weights)
        repeated = CALIBRATORS[kind]().fit(logits[copied], labels[copied])
        np.testing.assert_allclose(weighted(logits), repeated(logits), atol=1e-5)

    def test_it_does_not_hurt_what_is_calibrated(self, kind):
        logits, labels = planted(size=4000)
        p = CALIBRATORS[kind]().fit(logits[:2000], labels[:2000])(logits[2000:])
        assert log_loss(p, labels[2000:]) < log_loss(expit(logits[2000:]), labels[2000:]) + 0.02

    def test_it_repairs_overconfidence(self, kind):
        logits, labels = planted(4.0, size=8000)
        p = CALIBRATORS[kind]().fit(logits[:4000], labels[:4000])(logits[4000:])
        truth = labels[4000:]
        assert expected_calibration_error(p, truth) < 0.04
        assert expected_calibration_error(expit(logits[4000:]), truth) > 0.1

    def test_separable_labels_give_a_finite_loss(self, kind):
        logits = np.array([-3.0, -2.0, 2.0, 3.0])
        labels = np.array([0, 0, 1, 1])
        assert np.isfinite(log_loss(CALIBRATORS[kind]().fit(logits, labels)(logits), labels))

    def test_reversed_scores_are_not_turned_around(self, kind):
        logits, labels = planted(size=500)
        p = CALIBRATORS[kind]().fit(-logits, labels)(np.array([-1.0, 1.0]))
        assert p[0] <= p[1]

    def test_bad_input_is_an_error(self, kind):
        fit = CALIBRATORS[kind]().fit
        with pytest.raises(InputError, match="same length"):
            fit(np.zeros(3), np.zeros(2))
        with pytest.raises(InputError, match="NaN or infinite"):
            fit(np.array([0.0, np.nan]), np.array([0, 1]))
        with pytest.raises(InputError, match="one class"):
            fit(np.zeros(3), np.ones(3))
        with pytest.raises(InputError, match="one class"):
            fit(np.zeros(2), np.array([0, 1]), np.array([1.0, 0.0]))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 5.0])
def test_a_planted_temperature_is_found(temperature):
    fitted = TemperatureCalibrator().fit(*planted(temperature))
    assert fitted.temperature == pytest.approx(temperature, rel=0.07)
    assert fitted.bias == 0.0


def test_a_planted_bias_is_found():
    fitted = PlattCalibrator().fit(*planted(2.0, bias=-1.5))
    assert fitted.temperature == pytest.approx(2.0, rel=0.07)
    assert fitted.bias == pytest.approx(-1.5, rel=0.07)


def test_isotonic_ends_have_finite_logits_and_are_held_outside():
    fitted = IsotonicCalibrator().fit(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(fitted(np.array([-9.0, 9.0])), [1 / 6, 5 / 6])


def test_an_unknown_kind_is_an_error():
    with pytest.raises(InputError, match="'beta' is unknown"):
        calibrator_from_json({"kind": "beta"})


def test_the_error_of_the_truth_is_about_zero():
    logits, labels = planted()
    assert expected_calibration_error(expit(logits), labels) < 0.015
    assert expected_calibration_error(expit(logits), labels, equal_mass=False) < 0.015


def test_the_error_of_the_truth_is_within_chance_and_of_a_lie_is_not():
    p = np.random.default_rng(3).random(2000)
    y = (np.random.default_rng(4).random(2000) < p).astype(float)
    low, high = calibration_error_by_chance(p, rng("test", 0), draws=200)
    assert low <= expected_calibration_error(p, y) <= high
    assert expected_calibration_error(p**2, y) > high
    assert calibration_error_by_chance(p, rng("test", 0), draws=200) == (low, high)


def test_errors_by_hand():
    p, y = np.array([0.8, 0.8, 0.8, 0.8]), np.array([1, 1, 0, 0])
    assert expected_calibration_error(p, y) == pytest.approx(0.3)
    assert brier(p, y) == pytest.approx((2 * 0.04 + 2 * 0.64) / 4)
    assert log_loss(p, y) == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2)
    assert np.isfinite(log_loss(np.array([0.0]), np.array([1])))


def test_bins_cover_every_example_and_never_split_a_tie():
    p = np.repeat([0.0, 0.2, 1.0], [70, 20, 10])
    bins = reliability_bins(p, (p > 0.5).astype(int))
    assert [b["count"] for b in bins] == [70, 20, 10]
    assert [b["true"] for b in bins] == [0.0, 0.0, 1.0]
    by_width = reliability_bins(np.array([0.05, 0.95, 1.0]), np.array([0, 1, 1]), equal_mass=False)
    assert [b["count"] for b in by_width] == [1, 2]
    with pytest.raises(InputError, match="no probability"):
        reliability_bins(np.zeros(0), np.zeros(0))


def test_the_report_is_json_and_agrees_with_its_parts():
    logits, labels = planted(size=1000)
    report = calibration_report(expit(logits), labels)
    assert json.loads(json.dumps(report)) == report
    assert report["ece"] == expected_calibration_error(expit(logits), labels)
    assert len(report["bins"]) == 10
    assert sum(b["count"] for b in report["bins"]) == 1000
