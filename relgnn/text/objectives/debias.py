"""The context alone should say the relation."""

from __future__ import annotations

from torch import Tensor

from relgnn.text.objectives.base import Objective, Step
from relgnn.text.views import Views


class Counterfactual(Objective):
    """weight · L of the batch with its entities hidden, whoever they may be.

    The training half of causal de-biasing; see `relgnn.text.debias` for the other.

    Args:
        weight: of the loss.
        views: hides the entities.
    """

    def __init__(self, weight: float, views: Views) -> None:
        super().__init__()
        self.weight, self.views = weight, views

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        logits = step.model(self.views.context(step.rows))
        return self.weight * step.supervised(logits, step.labels)
