"""Selectors: which posteriors become pseudo-labels, and with what weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from relgnn.errors import InputError


@dataclass(frozen=True)
class Posteriors:
    """Fused probabilities of N candidate triples, with each view's vote.

    Attributes:
        head, relation, tail: int64 [N].
        p: float [N], the calibrated probability that the triple is true, 0 to 1.
        p_text, p_graph, p_rules: float [N], each view's probability; nan where it has none.
        fold: int64 [N], the cross-fitting fold whose models gave these probabilities.
    """

    head: np.ndarray
    relation: np.ndarray
    tail: np.ndarray
    p: np.ndarray
    p_text: np.ndarray
    p_graph: np.ndarray
    p_rules: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        shapes = {f.name: getattr(self, f.name).shape for f in fields(self)}
        wrong = {name: shape for name, shape in shapes.items() if shape != (len(self.p),)}
        if wrong:
            raise InputError(f"posteriors {wrong} do not fit p's shape ({len(self.p)},)")
        if not ((self.p >= 0) & (self.p <= 1)).all():
            raise InputError("posteriors have p outside [0, 1] or NaN; calibrate them first")

    def __len__(self) -> int:
        return len(self.p)

    def subset(self, index: np.ndarray) -> Posteriors:
        """Return the posteriors that `index` (bool mask or positions) picks."""
        return Posteriors(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True)
class Accepted:
    """What a selector took of N posteriors.

    Attributes:
        index: int64 [A], positions of the accepted ones, most probable first, none twice.
        weight: float [A] in (0, 1], training weight.
        reason: object [N], why each posterior was accepted or not, a short string.
    """

    index: np.ndarray
    weight: np.ndarray
    reason: np.ndarray


class Selector(Protocol):
    """Takes posteriors, returns the accepted; never rejects p where it accepts a lower one."""

    def select(self, posteriors: Posteriors) -> Accepted:
        """Decide on all posteriors at once."""


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
        _check_fraction("target", self.target)
        _check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the longest list of most probable triples that keeps the target."""
        order = _by_probability(posteriors, self.min_probability)
        p = posteriors.p[order]
        expected = np.cumsum(p) / np.arange(1, len(p) + 1)
        last_of_tie = np.append(p[1:] < p[:-1], True)[: len(p)]
        # Rounding in the sum must not reject p that equal the target exactly.
        good = np.flatnonzero(last_of_tie & (expected >= self.target - 1e-12))
        count = int(good[-1]) + 1 if len(good) else 0
        return _accept(
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
        _check_fraction("min_probability", self.min_probability)
        if self.ratio <= 0 or self.gold_count < 0:
            raise InputError(
                f"budget of ratio {self.ratio} over {self.gold_count} gold triples; expected a "
                "ratio above 0 and a count of at least 0"
            )

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the floor(ratio * gold_count) most probable triples."""
        order = _by_probability(posteriors, self.min_probability)
        budget = int(self.ratio * self.gold_count)
        return _accept(
            posteriors, order, min(budget, len(order)), f"within the budget of {budget}",
            f"budget of {budget} spent", self.min_probability,
        )  # fmt: skip


SELECTORS: dict[str, Callable[..., Selector]] = {
    "precision": PrecisionSelector,
    "budget": BudgetSelector,
}


def _by_probability(posteriors: Posteriors, minimum: float) -> np.ndarray:
    """Return positions of p >= minimum, most probable first, whatever the order of rows.

    Ties go to the surer text, then graph view, then to the smaller ids.
    """
    kept = np.flatnonzero(posteriors.p >= minimum)
    part = posteriors.subset(kept)
    views = [-np.nan_to_num(view, nan=-1.0) for view in (part.p_graph, part.p_text)]
    return kept[np.lexsort((part.tail, part.relation, part.head, *views, -part.p))]


def _accept(
    posteriors: Posteriors,
    order: np.ndarray,
    count: int,
    accepted: str,
    rejected: str,
    minimum: float,
) -> Accepted:
    """Take the first `count` of `order`, weighted by probability, and give each a reason."""
    reason = np.full(len(posteriors), f"p below {minimum:g}", dtype=object)
    reason[order[:count]] = accepted
    reason[order[count:]] = rejected
    index = order[:count]
    return Accepted(index, posteriors.p[index], reason)


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"selector's {name} is {value}; expected a number above 0 and at most 1")
