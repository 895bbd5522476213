"""How sure a pseudo-label must be: thresholds and weights, and the modules that move them.

The functions are the formulas; selectors (`relgnn.posterior.selectors`) give them the statistics of
all posteriors at once, and a `Weigher` those of the batches that a training has seen so far.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


def flex_thresholds(counts: Tensor, unused: Tensor, threshold: float) -> Tensor:
    """Thresholds that are lower for what is not learned yet (FlexMatch, Zhang et al., 2021).

        τ_c = τ β_c / (2 - β_c),  β_c = n_c / max(max_k n_k, unused)

    Args:
        counts: n, [C], items that are labelled c with a probability of at least τ.
        unused: scalar, items that are labelled nothing so.
        threshold: τ.

    Returns:
        [C].
    """
    learned = counts / torch.maximum(counts.max(), unused).clamp(min=1)
    return threshold * learned / (2 - learned)


def free_thresholds(sureness: Tensor, mass: Tensor) -> Tensor:
    """Thresholds from the predictions alone (FreeMatch, Wang et al., 2023).

        τ_c = τ p̃_c / max_k p̃_k

    Args:
        sureness: τ, scalar, the mean probability of the likeliest label.
        mass: p̃, [C], the mean probability of each label, up to a factor.

    Returns:
        [C].
    """
    return sureness * mass / mass.max().clamp(min=torch.finfo(mass.dtype).tiny)


def soft_weights(p: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """A truncated Gaussian of the probability (SoftMatch, Chen et al., 2023).

        w(p) = exp(-(p - μ)² / 2σ²) where p < μ, else 1

    Args:
        p: of the likeliest labels, [N].
        mean, variance: μ and σ² of such probabilities, scalars.

    Returns:
        [N], 0 to 1.
    """
    below = (p - mean).clamp(max=0)
    return torch.exp(-(below**2) / (2 * variance).clamp(min=1e-8))


class Weigher(nn.Module, ABC):
    """Weights of a training step's pseudo-labels; what it remembers of earlier steps is buffers."""

    @abstractmethod
    def forward(self, p: Tensor, index: Tensor) -> Tensor:
        """Weights [B], 0 to 1, of the likeliest labels; moves the memory.

        Args:
            p: [B, C], probabilities of all labels, without gradient.
            index: int64 [B], which unlabelled items they are, none twice.
        """


class FixedWeigher(Weigher):
    """1 where the likeliest label has at least `threshold` (FixMatch, Sohn et al., 2020)."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, p: Tensor, index: Tensor) -> Tensor:
        """See `Weigher`."""
        return (p.amax(1) >= self.threshold).to(p.dtype)


class FlexWeigher(Weigher):
    """`flex_thresholds`, counting the last sure label of every unlabelled item.

    Args:
        threshold: τ.
        items: number of unlabelled items.
        classes: number of labels.
        minimum: no threshold is lower.
    """

    chosen: Tensor

    def __init__(self, threshold: float, items: int, classes: int, minimum: float = 0.0) -> None:
        super().__init__()
        self.threshold, self.classes, self.minimum = threshold, classes, minimum
        self.register_buffer("chosen", torch.full((items,), -1))

    def forward(self, p: Tensor, index: Tensor) -> Tensor:
        """See `Weigher`."""
        sure, label = p.max(1)
        counts = torch.bincount(self.chosen + 1, minlength=self.classes + 1).to(p.dtype)
        limits = flex_thresholds(counts[1:], counts[0], self.threshold).clamp(min=self.minimum)
        self.chosen[index] = torch.where(sure >= self.threshold, label, self.chosen[index])
        return (sure >= limits[label]).to(p.dtype)


class FreeWeigher(Weigher):
    """`free_thresholds` of moving means; the paper's fairness term is not part of it.

    Args:
        classes: number of labels.
        momentum: share of the old mean that a step keeps.
    """

    sureness: Tensor
    mass: Tensor

    def __init__(self, classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("sureness", torch.tensor(1 / classes))
        self.register_buffer("mass", torch.full((classes,), 1 / classes))

    def forward(self, p: Tensor, index: Tensor) -> Tensor:
        """See `Weigher`."""
        sure, label = p.max(1)
        self.sureness.lerp_(sure.mean(), 1 - self.momentum)
        self.mass.lerp_(p.mean(0), 1 - self.momentum)
        return (sure >= free_thresholds(self.sureness, self.mass)[label]).to(p.dtype)


class SoftWeigher(Weigher):
    """`soft_weights` of moving mean and unbiased variance; the paper's alignment is not part of it.

    Args:
        classes: number of labels.
        momentum: share of the old mean that a step keeps.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.tensor(1 / classes))
        self.register_buffer("variance", torch.tensor(1.0))

    def forward(self, p: Tensor, index: Tensor) -> Tensor:
        """See `Weigher`."""
        sure = p.amax(1)
        self.mean.lerp_(sure.mean(), 1 - self.momentum)
        self.variance.lerp_(sure.var(correction=min(1, len(sure) - 1)), 1 - self.momentum)
        return soft_weights(sure, self.mean, self.variance)
