"""Two dropout masks should say the same."""

from __future__ import annotations

from torch import Tensor

from relgnn.text.objectives.base import Objective, Step


class RDrop(Objective):
    """R-Drop (Liang et al., 2021): (L(z') - L(z)) / 2 + weight · symmetric KL(z, z').

    z are the step's logits and z' those under another dropout mask; with the step's own L(z) that
    is the mean of both supervised losses and the distance.

    Args:
        weight: of the distance.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        other = step.model(step.rows)
        distance = symmetric_kl(step.logits, other)
        return (step.supervised(other, step.labels) - step.loss) / 2 + self.weight * distance


def symmetric_kl(left: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of (KL(p ‖ q) + KL(q ‖ p)) / 2 of two softmaxes over logits [B, C]."""
    p, q = left.log_softmax(1), right.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1).mean() / 2
