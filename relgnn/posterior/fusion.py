"""Fusion of views, some of them missing, into one probability; cross-fitting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from relgnn.errors import InputError

# A view that is sure must not outvote the others without bound.
LOGIT_LIMIT = 15.0
_ARRAYS = ("centre", "scale", "missing", "weights")

Predictor = Callable[[np.ndarray], np.ndarray]


@dataclass
class LogisticFusion:
    """Logistic regression over the views' logits, what is missing, products and extras.

    P(y | views) = sigmoid(w . phi + b), where phi holds for V views: each logit standardised over
    the examples that have it and 0 where it is missing, V centred indicators of missing, products
    of each two standardised logits (0 where either is missing), and the caller's extra features.

    Attributes:
        strength: inverse of the L2 penalty on standardised features.
    """

    strength: float = 1.0
    centre: np.ndarray | None = None
    scale: np.ndarray | None = None
    missing: np.ndarray | None = None
    weights: np.ndarray | None = None
    bias: float = 0.0
    views: int = 0

    def fit(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        extra: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> Self:
        """Fit and return self.

        Args:
            logits: float [N, V], one column a view; nan where the view has nothing to say.
            labels: 0/1 [N].
            extra: float [N, E], never missing.
            weights: float [N] of the examples; all 1 when None.

        Raises:
            InputError: labels are of one class, or a value is infinite or an extra missing.
        """
        if len(np.unique(labels)) != 2:
            raise InputError(
                f"fusion got {len(labels)} labels of one class; give true and false examples"
            )
        raw = _columns(logits, extra)
        self.views = logits.shape[1]
        present = ~np.isnan(raw)
        count = np.maximum(present.sum(0), 1)
        self.missing = 1 - present.mean(0)[: self.views]
        self.centre = np.where(present, raw, 0).sum(0) / count
        variance = np.where(present, raw - self.centre, 0) ** 2
        deviation = np.sqrt(variance.sum(0) / count)
        self.scale = np.where(deviation > 1e-9, deviation, 1.0)
        model = LogisticRegression(C=self.strength, max_iter=1000)
        model.fit(self._features(raw), labels, sample_weight=weights)
        self.weights, self.bias = model.coef_[0], float(model.intercept_[0])
        return self

    def __call__(self, logits: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """Return probabilities [N] for logits [N, V] and extra [N, E] as given to `fit`."""
        if self.weights is None:
            raise InputError("this fusion was never fitted; call fit or from_json first")
        return np.asarray(expit(self._features(_columns(logits, extra)) @ self.weights + self.bias))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` rebuilds this from."""
        if self.weights is None:
            raise InputError("this fusion was never fitted; call fit first")
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        scalars = {"strength": self.strength, "views": self.views, "bias": self.bias}
        return {"kind": "logistic", **scalars, **arrays}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`'s result."""
        arrays = {name: np.array(data[name], dtype=float) for name in _ARRAYS}
        return cls(data["strength"], bias=data["bias"], views=data["views"], **arrays)

    def _features(self, raw: np.ndarray) -> np.ndarray:
        assert self.centre is not None and self.scale is not None and self.missing is not None
        if raw.shape[1] != len(self.centre):
            raise InputError(
                f"fusion got {raw.shape[1]} columns of views and extras; it was fitted with "
                f"{len(self.centre)}"
            )
        missing = np.isnan(raw)
        z = np.where(missing, 0.0, (raw - self.centre) / self.scale)
        pairs = [z[:, i] * z[:, j] for i, j in combinations(range(self.views), 2)]
        return np.column_stack([z, missing[:, : self.views] - self.missing, *pairs])


def cross_fit(
    fit: Callable[[np.ndarray, np.ndarray], Predictor],
    x: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
) -> np.ndarray:
    """Return a prediction for every item by a model that saw nothing of the item's fold.

    Args:
        fit: (x, y) of the other folds -> predictor of x.
        x: [N, ...], one row an item.
        y: [N], labels; the fold's own never reach `fit`.
        folds: int [N], the fold of each item.

    Raises:
        InputError: there are not at least two folds.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise InputError(f"cross-fitting got {len(names)} fold; give at least 2")
    predictions = np.full(len(x), np.nan)
    for name in names:
        held = folds == name
        predictions[held] = fit(x[~held], y[~held])(x[held])
    return predictions


def logit(p: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) kept within +-15, nan for nan."""
    p = np.clip(np.asarray(p, dtype=float), expit(-LOGIT_LIMIT), expit(LOGIT_LIMIT))
    return np.asarray(np.log(p) - np.log1p(-p))


def _columns(logits: np.ndarray, extra: np.ndarray | None) -> np.ndarray:
    """Join views and extras, [N, V + E], and check them."""
    logits = np.asarray(logits, dtype=float)
    extra = np.zeros((len(logits), 0)) if extra is None else np.asarray(extra, dtype=float)
    if np.isinf(logits).any() or not np.isfinite(extra).all():
        raise InputError(
            "fusion got an infinite logit or a missing extra feature; use logit() on probabilities "
            "and nan only for a missing view"
        )
    return np.column_stack([np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT), extra])
