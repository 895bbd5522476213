"""Selectors that judge each relation on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relgnn.errors import InputError
from relgnn.posterior.selectors.base import (
    Accepted,
    Posteriors,
    accept_where,
    as_tensor,
    by_probability,
    check_fraction,
    share,
)
from relgnn.posterior.thresholds import flex_thresholds, free_thresholds


@dataclass(frozen=True)
class FlexSelector:
    """A threshold for each relation, lower where few are sure (FlexMatch, Zhang et al., 2021).

    See `flex_thresholds`; a relation's items are the posteriors with p >= `threshold`, and unused
    are the pairs that have none.

    Attributes:
        threshold: of the relation with most items, in (0, 1].
        min_probability: nothing below is accepted, in (0, 1].
    """

    threshold: float = 0.95
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        check_fraction("threshold", self.threshold)
        check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all with p of at least their relation's threshold."""
        sure = posteriors.p >= self.threshold
        counts = np.bincount(posteriors.relation[sure], minlength=_relations(posteriors))
        unused = (posteriors.surest() < self.threshold).sum()
        limits = flex_thresholds(as_tensor(counts), as_tensor(unused), self.threshold)
        return _above(posteriors, limits.numpy(), self.min_probability)


@dataclass(frozen=True)
class FreeSelector:
    """A threshold for each relation from the posteriors alone (FreeMatch, Wang et al., 2023).

    See `free_thresholds`; the sureness is the mean p of each pair's likeliest relation, and a
    relation's mass the sum of its p: give the posteriors of all relations of a pair.

    Attributes:
        min_probability: nothing below is accepted, in (0, 1].
    """

    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all with p of at least their relation's threshold."""
        sureness = posteriors.surest().mean() if len(posteriors) else 1.0
        mass = np.bincount(posteriors.relation, posteriors.p, _relations(posteriors))
        limits = free_thresholds(as_tensor(sureness), as_tensor(mass))
        return _above(posteriors, limits.numpy(), self.min_probability)


@dataclass(frozen=True)
class ClassTopSelector:
    """Accepts the most probable of each relation, as many as keep the shares of the gold labels.

    Pseudo-labels of a model lean to the frequent relations; this aligns their distribution with
    that of the gold ones, as in class-balanced self-training (Zou et al., 2018; CReST, Wei et al.,
    2021).

    Attributes:
        counts: gold triples of each relation.
        ratio: accepted triples per gold triple, > 0.
        min_probability: nothing below is accepted, in (0, 1].
    """

    counts: tuple[int, ...]
    ratio: float = 1.0
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("min_probability", self.min_probability)
        if self.ratio <= 0 or min(self.counts, default=0) < 0:
            raise InputError(
                f"top by relation got a ratio of {self.ratio} over counts from "
                f"{min(self.counts, default=0)}; expected a ratio above 0 and counts of at least 0"
            )

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the floor(ratio * counts[r]) most probable triples of each relation r."""
        if _relations(posteriors) > len(self.counts):
            raise InputError(
                f"posteriors have relation {_relations(posteriors) - 1}, and the selector has gold "
                f"counts of {len(self.counts)} relations; give a count for each"
            )
        order = by_probability(posteriors, self.min_probability)
        relation = posteriors.relation[order]
        # place within the own relation: those of one relation stay in the order of their p
        grouped = np.argsort(relation, kind="stable")
        first = np.searchsorted(relation[grouped], relation[grouped])
        place = np.empty(len(order), dtype=np.int64)
        place[grouped] = np.arange(len(order)) - first
        shares = np.array([share(self.ratio, count) for count in self.counts], dtype=np.int64)
        kept = place < shares[relation]
        return accept_where(
            posteriors, order, kept,
            "within its relation's share", "its relation's share is spent", self.min_probability,
        )  # fmt: skip


def _above(posteriors: Posteriors, limits: np.ndarray, minimum: float) -> Accepted:
    """Accept all with p of at least `limits` [relations] of their relation."""
    order = by_probability(posteriors, minimum)
    # Rounding in a mean must not reject p that equal it.
    kept = posteriors.p[order] >= limits[posteriors.relation[order]] - 1e-12
    return accept_where(
        posteriors, order, kept,
        "p at least its relation's threshold", "p below its relation's threshold", minimum,
    )  # fmt: skip


def _relations(posteriors: Posteriors) -> int:
    """The greatest relation and one."""
    return int(posteriors.relation.max(initial=0)) + 1
