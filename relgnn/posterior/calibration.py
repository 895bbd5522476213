"""Calibrators from scores to probabilities, and how far probabilities are from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from relgnn.errors import InputError

# Keeps the log of a probability finite.
TINY = 1e-12
BINS = 10


class Calibrator(Protocol):
    """Maps scores to probabilities, never turning their order around."""

    kind: ClassVar[str]

    def fit(
        self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
    ) -> Self:
        """Fit to scores [N], 0/1 labels [N] and weights [N] (all 1 when None); return self."""

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities [N] of scores [N]."""

    def to_json(self) -> dict[str, Any]:
        """Return what `calibrator_from_json` rebuilds this from."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a calibrator of this kind."""


@dataclass
class TemperatureCalibrator:
    """p = sigmoid(logit / T), with T > 0 fitted by log loss (Guo et al. 2017)."""

    kind: ClassVar[str] = "temperature"
    with_bias: ClassVar[bool] = False
    temperature: float = 1.0
    bias: float = 0.0

    def fit(
        self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
    ) -> Self:
        """Fit to logits [N] and 0/1 labels [N]; see `Calibrator.fit`."""
        scores, labels, weights = _checked(scores, labels, weights)
        unit = float(np.sqrt(np.average(scores**2, weights=weights))) or 1.0
        target = _smoothed(labels, weights)

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            slope, bias = np.exp(theta[0]), theta[1]
            z = slope * scores / unit + bias
            value = np.average(np.logaddexp(0, z) - target * z, weights=weights)
            error = expit(z) - target
            by_slope = np.average(error * slope * scores / unit, weights=weights)
            by_bias = np.average(error, weights=weights) if self.with_bias else 0.0
            return float(value), np.array([by_slope, by_bias])

        fitted = minimize(
            loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-12, 12), (-50, 50)],
            options={"ftol": 1e-14, "gtol": 1e-9},
        )  # fmt: skip
        self.temperature = float(unit / np.exp(fitted.x[0]))
        self.bias = float(fitted.x[1])
        return self

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities [N] of logits [N]."""
        return np.asarray(expit(np.asarray(scores, dtype=float) / self.temperature + self.bias))

    def to_json(self) -> dict[str, Any]:
        """Return kind, temperature and bias."""
        return {"kind": self.kind, "temperature": self.temperature, "bias": self.bias}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`'s result."""
        return cls(float(data["temperature"]), float(data["bias"]))


@dataclass
class PlattCalibrator(TemperatureCalibrator):
    """p = sigmoid(logit / T + bias), T > 0: also corrects the base rate (Platt 1999)."""

    kind: ClassVar[str] = "platt"
    with_bias: ClassVar[bool] = True


@dataclass
class IsotonicCalibrator:
    """A non-decreasing piecewise-linear map fitted by pool-adjacent-violators (Zadrozny 2002).

    Ends are kept off 0 and 1 by 1 / (weight + 2), so that their logits are finite.
    """

    kind: ClassVar[str] = "isotonic"
    scores: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0]))
    probabilities: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0]))

    def fit(
        self, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
    ) -> Self:
        """Fit to scores [N] of any scale and 0/1 labels [N]; see `Calibrator.fit`."""
        scores, labels, weights = _checked(scores, labels, weights)
        edge = 1 / (weights.sum() + 2)
        fitted = IsotonicRegression(y_min=edge, y_max=1 - edge).fit(scores, labels, weights)
        self.scores = np.asarray(fitted.X_thresholds_, dtype=float)
        self.probabilities = np.asarray(fitted.y_thresholds_, dtype=float)
        return self

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return probabilities [N]; scores outside the fitted range get its ends'."""
        return np.interp(np.asarray(scores, dtype=float), self.scores, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return kind and the knots of the map."""
        return {
            "kind": self.kind,
            "scores": self.scores.tolist(),
            "probabilities": self.probabilities.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`'s result."""
        return cls(
            np.array(data["scores"], dtype=float), np.array(data["probabilities"], dtype=float)
        )


CALIBRATORS: dict[str, type[TemperatureCalibrator] | type[IsotonicCalibrator]] = {
    one.kind: one for one in (TemperatureCalibrator, PlattCalibrator, IsotonicCalibrator)
}


def calibrator_from_json(data: Mapping[str, Any]) -> Calibrator:
    """Rebuild any registered calibrator from its JSON.

    Raises:
        InputError: the kind is unknown.
    """
    if data.get("kind") not in CALIBRATORS:
        raise InputError(
            f"calibrator kind {data.get('kind')!r} is unknown; expected one of {list(CALIBRATORS)}"
        )
    return CALIBRATORS[data["kind"]].from_json(data)


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean squared error of probabilities p [N] for 0/1 outcomes y [N] (Brier 1950)."""
    return float(np.mean((p - y) ** 2))


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of -log P(outcome), in nats."""
    p = np.clip(np.asarray(p, dtype=float), TINY, 1 - TINY)
    return float(-np.mean(np.where(y == 1, np.log(p), np.log1p(-p))))


def reliability_bins(
    p: np.ndarray, y: np.ndarray, equal_mass: bool = True
) -> list[dict[str, float]]:
    """Return mean probability, share of true and count of each non-empty bin of p.

    There are `BINS` at most: equal probabilities always share one.

    Args:
        p: probabilities [N].
        y: 0/1 outcomes [N].
        equal_mass: bins of equal count (less biased, Nixon et al. 2019), else of equal width.
    """
    if not len(p):
        raise InputError("there is no probability to put in bins; give at least one")
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.unique(np.quantile(p, inner)) if equal_mass else inner
    place = np.searchsorted(edges, p, side="right")
    members = (place == b for b in np.unique(place))
    return [
        {"p": float(p[m].mean()), "true": float(np.mean(y[m])), "count": int(m.sum())}
        for m in members
    ]


def expected_calibration_error(p: np.ndarray, y: np.ndarray, equal_mass: bool = True) -> float:
    """Return sum over bins of count / N * |mean p - share of true| (Naeini et al. 2015)."""
    return _ece(reliability_bins(p, y, equal_mass))


def calibration_error_by_chance(
    p: np.ndarray, generator: np.random.Generator, draws: int = 1000
) -> tuple[float, float]:
    """Return the range of 95 % of the errors of outcomes that are true with just probability p.

    An expected calibration error above its upper end is not chance.
    """
    errors = [
        expected_calibration_error(p, (generator.random(len(p)) < p).astype(float))
        for _ in range(draws)
    ]
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def calibration_report(p: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return ece, brier, log_loss and the equal-mass bins of probabilities p for outcomes y."""
    curve = reliability_bins(p, y)
    return {"ece": _ece(curve), "brier": brier(p, y), "log_loss": log_loss(p, y), "bins": curve}


def _ece(curve: list[dict[str, float]]) -> float:
    gap = sum(b["count"] * abs(b["p"] - b["true"]) for b in curve)
    return float(gap / sum(b["count"] for b in curve))


def _checked(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=float)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)
    if not scores.shape == labels.shape == weights.shape or scores.ndim != 1:
        raise InputError(
            f"calibration got scores {scores.shape}, labels {labels.shape} and weights "
            f"{weights.shape}; expected three arrays of the same length"
        )
    if not np.isfinite(scores).all():
        raise InputError(
            "calibration got a score that is NaN or infinite; drop missing ones before the fit"
        )
    used = labels[weights > 0]
    if not ((used == 0).any() and (used == 1).any()):
        raise InputError(
            f"calibration got {len(used)} labels of one class; give both true and false examples"
        )
    return scores, labels, weights


def _smoothed(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Replace 1 and 0 by Platt's posterior means, so that separable data have a finite fit."""
    positives, negatives = weights[labels == 1].sum(), weights[labels == 0].sum()
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
