"""A sentence between two should be answered between their answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from relgnn.text.objectives.base import Objective, Step


class Mixup(Objective):
    """Mixup (Zhang et al., 2018) of the sentences' vectors (Sun et al., Mixup-Transformer, 2020).

        z = classify(λ v_i + (1 - λ) v_j),  λ L(z, y_i) + (1 - λ) L(z, y_j),  λ ~ Beta(α, α)

    with one λ and one pairing i → j a batch; a loss under a row's label has that row's weight. It
    takes the supervised loss's place, so the term is that minus L.

    Args:
        alpha: α; the larger, the nearer λ is to 1/2.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        share, other = self.draw(len(step.labels), step.generator)
        logits = step.model.classify(share * step.vectors + (1 - share) * step.vectors[other])
        first = step.supervised(logits, step.labels)
        second = step.supervised(logits, step.labels[other], other)
        return share * first + (1 - share) * second - step.loss

    def draw(self, count: int, generator: torch.Generator) -> tuple[float, Tensor]:
        """λ, and the row [count] that each is mixed with."""
        device = generator.device
        # torch's Beta takes no generator
        seed = int(torch.randint(2**62, (1,), generator=generator, device=device))
        share = float(np.random.default_rng(seed).beta(self.alpha, self.alpha))
        return share, torch.randperm(count, generator=generator, device=device)
