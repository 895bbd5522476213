"""Calibration of one label out of many, and how far probabilities are from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_expit, log_softmax

from relgnn.errors import InputError
from relgnn.posterior.calibration import (
    calibration_error_by_chance,
    expected_calibration_error,
)

COLDEST, HOTTEST = -5.0, 5.0
"""Bounds of log T."""
TINY = 1e-12
"""No probability comes nearer to 1, and no log odds nearer to those that would be a tie."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """T > 0 that minimises the log-loss of softmax(logits / T) (Guo et al., 2017).

    Args:
        logits: [N, C].
        labels: int [N].

    Raises:
        InputError: there is no example, or a logit is not finite.
    """
    if not len(labels) or not np.isfinite(logits).all():
        raise InputError(
            f"calibration got {len(labels)} examples, with logits that "
            f"are{'' if np.isfinite(logits).all() else ' not'} finite; give at least one"
        )
    logits = np.asarray(logits, dtype=float)
    found = minimize_scalar(
        lambda log_t: _log_loss(logits / np.exp(log_t), labels),
        bounds=(COLDEST, HOTTEST), method="bounded",
    )  # fmt: skip
    return float(np.exp(found.x))


@dataclass(frozen=True)
class LabelCalibrator:
    """One temperature for all labels, then a curve for the likeliest one.

        p = softmax(z / T),  c = max p,  q = max(σ(a ln c - b ln(1 - c) + m), p₂ / (1 - c + p₂))

    q is the likeliest label's probability (beta calibration; Kull, Silva Filho and Flach, 2017),
    and the others share 1 - q in the proportions that they had. A temperature alone, which is
    fitted to the log-loss of all labels, leaves the likeliest label of an overfitted model too
    sure or too unsure; the curve is monotone, so that the order by confidence stays. Its bound,
    with p₂ of the second likeliest label, is what that one then gets, so that the likeliest label
    stays so; between rows that are bounded the order may change.

    Attributes:
        temperature: T > 0.
        a, b: slopes, > 0.
        m: intercept.
    """

    temperature: float
    a: float = 1.0
    b: float = 1.0
    m: float = 0.0

    @classmethod
    def fit(cls, logits: np.ndarray, labels: np.ndarray) -> Self:
        """Fit T to the log-loss of all labels, and the curve to whether the likeliest is right.

        Args:
            logits: [N, C], of examples that nothing was trained on.
            labels: int [N].

        Raises:
            InputError: see `fit_temperature`.
        """
        temperature = fit_temperature(logits, labels)
        top, log_c, log_rest = cls(temperature)._top(np.asarray(logits, dtype=float))
        right = top == labels

        def loss(theta: np.ndarray) -> float:
            s = np.exp(theta[0]) * log_c - np.exp(theta[1]) * log_rest + theta[2]
            # A weak pull towards the temperature alone keeps few or separable examples finite.
            return float(-log_expit(np.where(right, s, -s)).sum() + 0.1 * (theta**2).sum())

        theta = minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=[(-3, 3), (-3, 3), (-9, 9)]).x
        return cls(temperature, float(np.exp(theta[0])), float(np.exp(theta[1])), float(theta[2]))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Log-probabilities [N, C] of logits [N, C]."""
        logits = np.asarray(logits, dtype=float)
        top, log_c, log_rest = self._top(logits)
        found = log_softmax(logits / self.temperature, axis=1)
        rows = np.arange(len(top))
        found[rows, top] = -np.inf
        # the log odds of p₂ / (1 - c + p₂); a little more, so that rounding turns no order round
        least = found.max(axis=1) - log_rest + TINY
        s = np.maximum(self.a * log_c - self.b * log_rest + self.m, least)
        found += (log_expit(-s) - log_rest)[:, None]
        found[rows, top] = log_expit(s)
        return found

    def to_json(self) -> dict[str, float]:
        """What `from_json` makes an equal one of."""
        return {"temperature": self.temperature, "a": self.a, "b": self.b, "m": self.m}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """See `to_json`.

        Raises:
            InputError: a number is missing.
        """
        try:
            return cls(*(float(data[name]) for name in ("temperature", "a", "b", "m")))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                "calibration.json: expected the numbers temperature, a, b and m; run again"
            ) from None

    def _top(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The likeliest label [N], ln c [N] and ln(1 - c) [N]."""
        p = log_softmax(logits / self.temperature, axis=1)
        top = p.argmax(axis=1)
        log_c = np.minimum(p[np.arange(len(p)), top], -TINY)
        return top, log_c, np.log(-np.expm1(log_c))


def softmax_report(
    logits: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
    draws: int = 1000,
) -> dict[str, Any]:
    """How well the probability of the likeliest label is kept.

    Args:
        logits: [N, C].
        labels: int [N].
        generator: of the draws.
        draws: of outcomes that would be right with just the stated probability.

    Returns:
        log_loss of all labels; ece of the likeliest one; and `ece_range`, between whose ends 95 %
        of the draws' errors lie: an error above it is not chance.
    """
    logits = np.asarray(logits, dtype=float)
    p = np.exp(log_softmax(logits, axis=1))
    sure, right = p.max(1), (p.argmax(1) == labels).astype(float)
    return {
        "log_loss": _log_loss(logits, labels),
        "ece": expected_calibration_error(sure, right),
        "ece_range": list(calibration_error_by_chance(sure, generator, draws)),
    }


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
