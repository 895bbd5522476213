"""What selectors take and return, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch

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

    @property
    def triples(self) -> np.ndarray:
        """Heads, relations and tails, int64 [N, 3]."""
        return np.stack([self.head, self.relation, self.tail], axis=1)

    def surest(self) -> np.ndarray:
        """p of the likeliest triple of each (head, tail), [P]."""
        return self.p[surest_of_pairs(self.triples, self.p)]


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
    """Takes posteriors, returns the accepted.

    Of one relation it never rejects p where it accepts a lower one; those that treat all relations
    alike never do so at all. One that asks the views themselves promises it where all of them are
    at least as sure and none more is silent.
    """

    def select(self, posteriors: Posteriors) -> Accepted:
        """Decide on all posteriors at once."""


def surest_of_pairs(triples: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Ascending positions [P] of the likeliest triple of each (head, tail), the first of equals."""
    order = np.argsort(-p, kind="stable")
    _, first = np.unique(triples[order][:, [0, 2]], axis=0, return_index=True)
    return np.sort(order[first])


def by_probability(posteriors: Posteriors, minimum: float) -> np.ndarray:
    """Return positions of p >= minimum, most probable first, whatever the order of rows.

    Ties go to the surer text, then graph view, then to the smaller ids.
    """
    kept = np.flatnonzero(posteriors.p >= minimum)
    part = posteriors.subset(kept)
    views = [-np.nan_to_num(view, nan=-1.0) for view in (part.p_graph, part.p_text)]
    return kept[np.lexsort((part.tail, part.relation, part.head, *views, -part.p))]


def accept(
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


def accept_where(
    posteriors: Posteriors,
    order: np.ndarray,
    kept: np.ndarray,
    accepted: str,
    rejected: str,
    minimum: float,
) -> Accepted:
    """Take those of `order` that `kept` (bool, as long) picks; else as `accept`."""
    order = np.concatenate([order[kept], order[~kept]])
    return accept(posteriors, order, int(kept.sum()), accepted, rejected, minimum)


def as_tensor(values: Any) -> torch.Tensor:
    """A statistic, or one of each relation, as the formulas of `thresholds` take it; float64."""
    return torch.as_tensor(np.asarray(values, dtype=float))


def share(ratio: float, count: int) -> int:
    """floor(ratio · count), of the product as it is written: 0.29 · 100 is 29."""
    return int(Fraction(str(ratio)) * count)


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not in (0, 1].

    Raises:
        InputError: `value`, which is called `name`, is outside.
    """
    if not 0 < value <= 1:
        raise InputError(f"selector's {name} is {value}; expected a number above 0 and at most 1")
