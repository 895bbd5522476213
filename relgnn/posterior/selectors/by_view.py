"""Selectors that ask the views themselves, beside their fused probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relgnn.errors import InputError
from relgnn.posterior.selectors.base import (
    Accepted,
    Posteriors,
    accept_where,
    by_probability,
    check_fraction,
)


@dataclass(frozen=True)
class AgreementSelector:
    """Accepts where all views that speak agree, each on its own (co-training's agreement).

    A silent view (nan) has no vote. Weights are fused probabilities.

    Attributes:
        threshold: probability that every view that speaks must give, in (0, 1].
        voters: views that must speak, 1 to 3.
        min_probability: no lower fused probability is accepted, in (0, 1].
    """

    threshold: float = 0.5
    voters: int = 2
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)
        check_fraction("min_probability", self.min_probability)
        if self.voters not in (1, 2, 3):
            raise InputError(f"agreement got voters {self.voters}; expected 1 to 3, the views")

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all that enough views speak of and none holds less probable than threshold."""
        views = np.stack([posteriors.p_text, posteriors.p_graph, posteriors.p_rules])
        speaks = ~np.isnan(views)
        agreed = (~speaks | (views >= self.threshold)).all(0) & (speaks.sum(0) >= self.voters)
        order = by_probability(posteriors, self.min_probability)
        kept = agreed[order]
        return accept_where(
            posteriors, order, kept,
            f"every view at least {self.threshold:g}", "too few views speak, or not all agree",
            self.min_probability,
        )  # fmt: skip
