"""The context alone should say the relation."""

from __future__ import annotations

from torch import Tensor

from relgnn.text.hiding import Hider
from relgnn.text.objectives.base import Objective, Step


class Counterfactual(Objective):
    """weight · L of the batch with its entities hidden, whoever they may be.

    The training half of causal de-biasing; see `relgnn.text.debias` for the other.

    Args:
        weight: of the loss.
        hider: hides the entities.
    """

    def __init__(self, weight: float, hider: Hider) -> None:
        super().__init__()
        self.weight, self.hider = weight, hider

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        logits = step.model(self.hider.context(step.rows))
        return self.weight * step.supervised(logits, step.labels)
