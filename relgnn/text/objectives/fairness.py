"""Groups of sentences should be read equally well."""

from __future__ import annotations

import torch
from torch import Tensor

from relgnn.text.objectives.base import Objective, Step

KEPT = 0.9


class Fairness(Objective):
    """weight · (largest - smallest) of the groups' mean losses.

    A batch may hold few or none of a group, so which gap there is comes from running means, m_g ←
    0.9 m_g + 0.1 L_g, and the gradient from the batch's own loss of the largest. The smallest has
    none: nobody is to be read worse, the gap closes from the other side, as in group DRO (Sagawa
    et al., 2020).

    Args:
        weight: of the gap.
        groups: int64 [M], the group of each training row, -1 for none.
        count: number of groups.
    """

    groups: Tensor
    means: Tensor
    seen: Tensor

    def __init__(self, weight: float, groups: Tensor, count: int) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("groups", groups, persistent=False)
        self.register_buffer("means", torch.zeros(count))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.bool))

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        own = self.groups[step.index.to(self.groups.device)]
        losses = []
        for group, (mean, seen) in enumerate(zip(self.means, self.seen, strict=True)):
            members = own == group
            if not bool(members.any()):
                if bool(seen):
                    losses.append(mean.clone())
                continue
            loss = step.supervised(step.logits[members], step.labels[members], members)
            now = loss.detach()
            mean.copy_(KEPT * mean + (1 - KEPT) * now if bool(seen) else now)
            seen.fill_(True)
            losses.append(loss + (mean - now))
        if len(losses) < 2:
            return step.loss.new_zeros(())
        found = torch.stack(losses)
        return self.weight * (found.max() - found.detach().min())
