"""Selectors to which all relations are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relgnn.errors import InputError
from relgnn.posterior.selectors.base import (
    Accepted,
    Posteriors,
    accept,
    as_tensor,
    by_probability,
    check_fraction,
    share,
)
from relgnn.posterior.thresholds import soft_weights


@dataclass(frozen=True)
class PrecisionSelector:
    """Accepts the most probable while the mean probability of all accepted is >= `target`.

    For calibrated p that mean is the expected precision. Equal p stand or fall together.

    Attributes:
        target: expected precision to keep, in (0, 1].
        min_probability: nothing below is accepted, in (0, 1].
    """

    target: float = 0.8
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        check_fraction("target", self.target)
        check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the longest list of most probable triples that keeps the target."""
        order = by_probability(posteriors, self.min_probability)
        p = posteriors.p[order]
        expected = np.cumsum(p) / np.arange(1, len(p) + 1)
        last_of_tie = np.append(p[1:] < p[:-1], True)[: len(p)]
        # Rounding in the sum must not reject p that equal the target exactly.
        good = np.flatnonzero(last_of_tie & (expected >= self.target - 1e-12))
        count = int(good[-1]) + 1 if len(good) else 0
        return accept(
            posteriors, order, count, f"expected precision kept at {self.target:g}",
            f"expected precision would fall below {self.target:g}", self.min_probability,
        )  # fmt: skip


@dataclass(frozen=True)
class BudgetSelector:
    """Accepts the most probable up to a number of triples, a ratio of the gold ones.

    Attributes:
        ratio: accepted triples per gold triple, > 0.
        gold_count: gold triples in training.
        min_probability: nothing below is accepted, in (0, 1].
    """

    ratio: float
    gold_count: int
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("min_probability", self.min_probability)
        if self.ratio <= 0 or self.gold_count < 0:
            raise InputError(
                f"budget of ratio {self.ratio} over {self.gold_count} gold triples; expected a "
                "ratio above 0 and a count of at least 0"
            )

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the floor(ratio * gold_count) most probable triples."""
        order = by_probability(posteriors, self.min_probability)
        budget = share(self.ratio, self.gold_count)
        return accept(
            posteriors, order, min(budget, len(order)), f"within the budget of {budget}",
            f"budget of {budget} spent", self.min_probability,
        )  # fmt: skip


@dataclass(frozen=True)
class FixedSelector:
    """Accepts everything at least as probable as one threshold (FixMatch, Sohn et al., 2020).

    Attributes:
        threshold: in (0, 1].
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all with p >= threshold."""
        order = by_probability(posteriors, self.threshold)
        return accept(
            posteriors, order, len(order), f"p at least {self.threshold:g}", "", self.threshold
        )


@dataclass(frozen=True)
class SoftSelector:
    """Accepts all, the less probable with less weight (SoftMatch, Chen et al., 2023).

    The weight is `soft_weights` under mean and variance of p of each pair's likeliest relation.

    Attributes:
        min_probability: nothing below is accepted, in (0, 1].
    """

    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all with p >= min_probability whose weight is not 0."""
        order = by_probability(posteriors, self.min_probability)
        if not len(order):
            return accept(posteriors, order, 0, "", "", self.min_probability)
        surest = posteriors.surest()
        weight = soft_weights(
            as_tensor(posteriors.p[order]), as_tensor(surest.mean()), as_tensor(surest.var())
        ).numpy()
        count = int((weight > 0).sum())
        found = accept(
            posteriors, order, count, "weighted by its probability", "weight is 0",
            self.min_probability,
        )  # fmt: skip
        return Accepted(found.index, weight[:count], found.reason)
