"""Calibration of one label out of many: one temperature, and how far it is from the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from relgnn.errors import InputError
from relgnn.posterior.calibration import expected_calibration_error

COLDEST, HOTTEST = -5.0, 5.0
"""Bounds of log T."""


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


def softmax_report(
    logits: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
    bins: int = 10,
    draws: int = 1000,
) -> dict[str, Any]:
    """How well the probability of the likeliest label is kept.

    Args:
        logits: [N, C].
        labels: int [N].
        generator: of the draws.
        bins: of equal mass.
        draws: of outcomes that would be right with just the stated probability.

    Returns:
        log_loss of all labels; ece of the likeliest one; and `ece_range`, between whose ends 95 %
        of the draws' errors lie: an error above it is not chance.
    """
    logits = np.asarray(logits, dtype=float)
    p = np.exp(log_softmax(logits, axis=1))
    sure, right = p.max(1), (p.argmax(1) == labels).astype(float)
    perfect = [
        expected_calibration_error(sure, (generator.random(len(sure)) < sure).astype(float), bins)
        for _ in range(draws)
    ]
    low, high = np.quantile(perfect, [0.025, 0.975])
    return {
        "log_loss": _log_loss(logits, labels),
        "ece": expected_calibration_error(sure, right, bins),
        "ece_range": [float(low), float(high)],
    }


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
