"""Selectors whose bound is set elsewhere: by the round, by a certificate, or by a cap."""

from __future__ import annotations

from dataclasses import dataclass

from relgnn.errors import InputError
from relgnn.posterior.conformal import Certificate
from relgnn.posterior.selectors.alike import PrecisionSelector
from relgnn.posterior.selectors.base import (
    Accepted,
    Posteriors,
    Selector,
    accept,
    by_probability,
    check_fraction,
    share,
)


@dataclass(frozen=True)
class CurriculumSelector:
    """`PrecisionSelector` whose target falls linearly over the rounds: the sure comes first.

    Attributes:
        start: expected precision of round 1, in (0, 1].
        target: of the last round, in (0, 1], at most `start`.
        number: the round, from 1.
        rounds: the last round; a later one keeps its target.
        min_probability: nothing below is accepted, in (0, 1].
    """

    start: float
    target: float
    number: int = 1
    rounds: int = 1
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        check_fraction("start", self.start)
        check_fraction("target", self.target)
        if self.start < self.target or self.number < 1 or self.rounds < 1:
            raise InputError(
                f"curriculum from {self.start} to {self.target} in round {self.number} of "
                f"{self.rounds}; expected a start of at least the target, and rounds from 1"
            )

    @property
    def wanted(self) -> float:
        """The round's expected precision."""
        if self.number >= self.rounds:
            return self.target
        return self.start - (self.start - self.target) * (self.number - 1) / (self.rounds - 1)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the longest list of most probable triples that keeps the round's precision."""
        return PrecisionSelector(self.wanted, self.min_probability).select(posteriors)


@dataclass(frozen=True)
class ConformalSelector:
    """Accepts from the threshold on that a calibration sample certifies, or nothing.

    Attributes:
        certificate: of `relgnn.posterior.conformal.certify`.
        min_probability: nothing below is accepted, in (0, 1].
    """

    certificate: Certificate
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        check_fraction("min_probability", self.min_probability)

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return all with p of at least the certified threshold."""
        order = by_probability(posteriors, self.min_probability)
        threshold = self.certificate.threshold
        promise = (
            f"precision {self.certificate.precision:g} at confidence {1 - self.certificate.delta:g}"
        )
        count = 0 if threshold is None else int((posteriors.p[order] >= threshold).sum())
        return accept(
            posteriors, order, count, f"{promise} from p {threshold or 0:g} on",
            f"{promise} is not certified", self.min_probability,
        )  # fmt: skip


@dataclass(frozen=True)
class CappedSelector:
    """Accepts the most probable of what another selector does, up to a ratio of the gold triples.

    Attributes:
        selector: the other one.
        ratio: accepted triples per gold triple, > 0.
        gold_count: gold triples in training.
    """

    selector: Selector
    ratio: float
    gold_count: int

    def __post_init__(self) -> None:
        if self.ratio <= 0 or self.gold_count < 0:
            raise InputError(
                f"cap of ratio {self.ratio} over {self.gold_count} gold triples; expected a ratio "
                "above 0 and a count of at least 0"
            )

    def select(self, posteriors: Posteriors) -> Accepted:
        """Return the first floor(ratio * gold_count) that the other selector accepts."""
        found, limit = self.selector.select(posteriors), share(self.ratio, self.gold_count)
        reason = found.reason.copy()
        reason[found.index[limit:]] = f"cap of {limit} reached"
        return Accepted(found.index[:limit], found.weight[:limit], reason)
