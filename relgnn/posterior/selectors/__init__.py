"""Selectors: which posteriors become pseudo-labels, and with what weight."""

from __future__ import annotations

from collections.abc import Callable

from relgnn.posterior.selectors.alike import (
    BudgetSelector,
    FixedSelector,
    PrecisionSelector,
    SoftSelector,
)
from relgnn.posterior.selectors.base import Accepted, Posteriors, Selector, surest_of_pairs
from relgnn.posterior.selectors.by_relation import ClassTopSelector, FlexSelector, FreeSelector

__all__ = [
    "SELECTORS", "Accepted", "BudgetSelector", "ClassTopSelector", "FixedSelector", "FlexSelector",
    "FreeSelector", "Posteriors", "PrecisionSelector", "Selector", "SoftSelector",
    "surest_of_pairs",
]  # fmt: skip

SELECTORS: dict[str, Callable[..., Selector]] = {
    "precision": PrecisionSelector,
    "budget": BudgetSelector,
    "fixed": FixedSelector,
    "soft": SoftSelector,
    "flex": FlexSelector,
    "free": FreeSelector,
    "class_top": ClassTopSelector,
}
