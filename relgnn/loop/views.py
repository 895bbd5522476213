"""From the views' raw votes to calibrated probabilities, under an incomplete graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from relgnn.posterior.calibration import calibration_report
from relgnn.posterior.fusion import LogisticFusion, cross_fit
from relgnn.posterior.pu import LABEL_FREQUENCY, unlabelled_probability


@dataclass(frozen=True)
class Fused:
    """What one set of views says of every candidate.

    Args:
        p: float [C], P(true | views, not given).
        g: float [C], P(given | views), cross-fitted.
        label_frequency: c = P(given | true), estimated.
        calibrator: fitted on all candidates, for later use.
    """

    p: np.ndarray
    g: np.ndarray
    label_frequency: float
    calibrator: LogisticFusion

    def report(self, given: np.ndarray) -> dict[str, Any]:
        """How well g predicts "is given" out of fold, and c."""
        return {
            "label_frequency": self.label_frequency,
            "given": calibration_report(self.g, given.astype(float)),
            "calibrator": self.calibrator.to_json(),
        }


def fuse(
    votes: np.ndarray,
    extra: np.ndarray,
    given: np.ndarray,
    folds: np.ndarray,
    label_frequency: str,
) -> Fused:
    """Fit on "is given" out of fold, then correct for what is true and not given.

    g = P(given | views) is a logistic regression over the votes, their products and `extra`;
    P(true | not given) = (1 − c)/c · g/(1 − g) (Elkan and Noto 2008), c by the named estimator.

    Args:
        votes: float [C, V], logits or log probabilities; nan where a view is silent.
        extra: float [C, E], never missing.
        given: bool [C].
        folds: int64 [C]; a candidate's own fold never fits what judges it.
        label_frequency: key of `posterior.pu.LABEL_FREQUENCY`.
    """
    width = votes.shape[1]
    x, y = np.column_stack([votes, extra]), given.astype(int)

    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        fusion = LogisticFusion().fit(x[:, :width], y, x[:, width:])
        return lambda rows: fusion(rows[:, :width], rows[:, width:])

    g = cross_fit(fit, x, y, folds)
    c = LABEL_FREQUENCY[label_frequency](g, given)
    calibrator = LogisticFusion().fit(votes, y, extra)
    return Fused(unlabelled_probability(g, c), g, c, calibrator)
