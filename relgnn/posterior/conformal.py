"""Conformal risk control by Learn then Test: a promise of precision that is kept, or none.

A mean of calibrated probabilities is a precision to expect. This is one to rely on: with confidence
1 - delta over the draw of the calibration sample, what is at least as probable as the threshold has
the precision, whatever the probabilities are worth (Angelopoulos, Bates, Candès, Jordan and Lei
2021). It asks that the sample and what is selected are exchangeable draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import rel_entr
from scipy.stats import binom

from relgnn.errors import InputError
from relgnn.posterior.pu import Frequency, labelled_probability

THRESHOLDS = np.arange(200, 0, -1) / 200
"""Thresholds in the order in which they are tested, chosen before any label is seen."""

ENOUGH = 50
"""Examples at the strictest threshold that is tested: with fewer, one mistake ends the test."""


@dataclass(frozen=True)
class Certificate:
    """What may be promised.

    Attributes:
        threshold: the lowest that keeps the promise; None: nothing may be accepted.
        precision, delta: the promise, broken with a probability of at most delta.
        items: examples of the sample at least as probable as the threshold; where there is none,
            as the strictest one that was tested.
        true: how many of them are true, or labelled where labels are of a share of the truth.
        p_value: of the test at that threshold.
    """

    threshold: float | None
    precision: float
    delta: float
    items: int = 0
    true: int = 0
    p_value: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Its attributes."""
        return asdict(self)


def binomial_tail(loss: np.ndarray, count: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Return P(Bin(n, risk) <= n loss), the p-value of "the risk is more", for losses of 0 and 1.

    Args:
        loss: mean losses [M].
        count: n, how many [M].
        risk: the risk allowed [M], 0 to 1.
    """
    return np.asarray(binom.cdf(np.round(count * loss), count, risk))


def hoeffding_bentkus(loss: np.ndarray, count: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Return the p-value of "the risk is more" for losses from 0 to 1 (Bates et al. 2021).

        min(exp(-n KL(min(loss, risk) || risk)), e P(Bin(n, risk) <= ceil(n loss)))

    Arguments as in `binomial_tail`.
    """
    least = np.minimum(loss, risk)
    divergence = rel_entr(least, risk) + rel_entr(1 - least, 1 - risk)
    # rounding in a mean must not add a loss
    bentkus = np.e * binom.cdf(np.ceil(count * loss - 1e-9), count, risk)
    return np.asarray(np.minimum(np.exp(-count * divergence), np.minimum(bentkus, 1.0)))


BOUNDS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "binomial": binomial_tail,
    "hoeffding_bentkus": hoeffding_bentkus,
}


def certify(
    p: np.ndarray,
    true: np.ndarray,
    precision: float,
    delta: float,
    *,
    weights: np.ndarray | None = None,
    label_frequency: Frequency | None = None,
    bound: str = "binomial",
    at_least: int = ENOUGH,
    floor: float = 0.0,
) -> Certificate:
    """Find the lowest threshold t with P(false | p >= t) <= 1 - precision, but for a chance delta.

    Thresholds are tested from the strictest that `at_least` examples reach (or all, where they are
    fewer) down, each at level delta, until the first that is not shown to keep the precision: a
    fixed sequence, so that the chance of any false promise is at most delta. A threshold that no
    further example reaches is passed over, so that nothing is promised of what the sample is
    silent on. Where the first test fails, nothing is promised.

    With `label_frequency` c, the examples are all that there are, `true` says which are labelled,
    and the promise is on those that are not. Of true examples a share c is labelled, so that the
    precision among the rest is at most the wanted one where the share that is labelled is at most
    s = c precision / (1 - c + c precision), which is tested by the same count: the risk is 1 - s.
    It asks that labels are missing completely at random (SCAR) and that c is known; too high a c
    promises less than is kept, too low a one more. Where c_i differs by example, the loss of a
    labelled one is 1 - min(s) / s_i, and the risk 1 - min(s).

    With `weights`, the risk is that of a population in which an example counts by its weight, as
    for a sample that was not drawn evenly. The p-value is then of mean losses
    risk + w / max(w) (loss - risk), which lie in [0, 1].

    Args:
        p: float [N], scores in [0, 1] of the calibration sample.
        true: bool [N].
        precision: to keep, in (0, 1].
        delta: chance of a broken promise, in (0, 1).
        weights: float [N], importance of the examples, >= 0; None: all alike.
        label_frequency: c in (0, 1], of all or of each [N]; None: `true` is the truth.
        bound: a key of `BOUNDS`.
        at_least: examples at the strictest threshold; must not depend on the labels.
        floor: no threshold is lower.

    Raises:
        InputError: arrays do not match, a number is outside its range, or the binomial tail, which
            is of counts, is asked for where weights or label frequencies differ.
    """
    p, true = np.asarray(p, dtype=float), np.asarray(true, dtype=bool)
    weights = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=float)
    _check(p, true, weights, precision, delta, bound)
    order = np.argsort(-p, kind="stable")
    share = np.full(len(p), float(precision))
    if label_frequency is not None:
        share[:] = labelled_probability(precision, label_frequency)
    if bound == "binomial" and len(p) and np.ptp(weights) + np.ptp(share):
        raise InputError(
            "the binomial tail is of counts, and the calibration sample is weighted or its label "
            "frequency differs; take bound hoeffding_bentkus"
        )
    risk = 1 - share.min(initial=1)
    losses = weights * (1 - np.where(true, (1 - risk) / share, 0))
    grid = np.unique(np.append(THRESHOLDS[floor <= THRESHOLDS], floor))[::-1]
    reach = np.searchsorted(-p[order], -grid, side="right")
    tested = np.diff(reach, prepend=0) > 0
    tested &= reach >= max(1, min(at_least, reach[-1]))
    threshold, count = grid[tested], reach[tested]
    if not len(count):
        return Certificate(None, precision, delta)
    weight, lost = (np.cumsum(x[order])[count - 1] for x in (weights, losses))
    loss = risk + (lost - risk * weight) / (count * max(weights.max(), 1e-300))
    p_value = BOUNDS[bound](np.clip(loss, 0, 1), count, np.full(len(count), risk))
    failed = np.flatnonzero(p_value > delta)
    passed = int(failed[0]) if len(failed) else len(count)
    last = max(passed - 1, 0)
    return Certificate(
        float(threshold[last]) if passed else None, precision, delta, int(count[last]),
        int(np.cumsum(true[order])[count[last] - 1]), float(p_value[last]),
    )  # fmt: skip


def _check(
    p: np.ndarray,
    true: np.ndarray,
    weights: np.ndarray,
    precision: float,
    delta: float,
    bound: str,
) -> None:
    if not p.shape == true.shape == weights.shape or p.ndim != 1:
        raise InputError(
            f"the calibration sample has p {p.shape}, truth {true.shape} and weights "
            f"{weights.shape}; expected three arrays of the same length"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("the calibration sample has p outside [0, 1] or NaN; give probabilities")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError("the calibration sample has a weight below 0 or not finite; give others")
    if not (0 < precision <= 1 and 0 < delta < 1):
        raise InputError(
            f"a precision of {precision} was asked for with delta {delta}; expected one above 0 "
            "and at most 1, and a delta between 0 and 1"
        )
    if bound not in BOUNDS:
        raise InputError(f"bound {bound!r} is unknown; expected one of {list(BOUNDS)}")
