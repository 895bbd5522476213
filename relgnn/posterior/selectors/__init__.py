"""Selectors: which posteriors become pseudo-labels, and with what weight."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from relgnn.errors import InputError
from relgnn.posterior.selectors.alike import (
    BudgetSelector,
    FixedSelector,
    PrecisionSelector,
    SoftSelector,
)
from relgnn.posterior.selectors.base import Accepted, Posteriors, Selector, surest_of_pairs
from relgnn.posterior.selectors.by_relation import ClassTopSelector, FlexSelector, FreeSelector
from relgnn.posterior.selectors.by_view import AgreementSelector
from relgnn.posterior.selectors.promised import (
    CappedSelector,
    ConformalSelector,
    CurriculumSelector,
)

__all__ = [
    "SELECTORS", "Accepted", "AgreementSelector", "BudgetSelector", "CappedSelector",
    "ClassTopSelector", "ConformalSelector", "CurriculumSelector", "FixedSelector", "FlexSelector",
    "FreeSelector", "Posteriors", "PrecisionSelector", "Selector", "SoftSelector", "build_selector",
    "surest_of_pairs",
]  # fmt: skip

SELECTORS: dict[str, type[Any]] = {
    "precision": PrecisionSelector,
    "budget": BudgetSelector,
    "fixed": FixedSelector,
    "soft": SoftSelector,
    "flex": FlexSelector,
    "free": FreeSelector,
    "class_top": ClassTopSelector,
    "agreement": AgreementSelector,
    "curriculum": CurriculumSelector,
    "conformal": ConformalSelector,
}


def build_selector(name: str, **numbers: Any) -> Selector:
    """Return the named selector, with those of `numbers` that it has an attribute of.

    So the loop and the text runs give what their configurations hold, whichever is chosen.

    Raises:
        InputError: there is no such selector, or a number is outside its range.
    """
    if name not in SELECTORS:
        raise InputError(f"selector {name!r} is unknown; expected one of {list(SELECTORS)}")
    made, known = SELECTORS[name], {field.name for field in fields(SELECTORS[name])}
    selector: Selector = made(**{key: value for key, value in numbers.items() if key in known})
    return selector
