"""One temperature for many labels: planted ones are found, and perfect ones are in the range."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from relgnn.errors import InputError
from relgnn.posterior.softmax import fit_temperature, softmax_report


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
