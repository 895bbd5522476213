"""Supervised losses of a relation classifier.

Whatever the loss, softmax over the labels' logits is the distribution of a single label. For `bce`
and `threshold`, 0 is the logit of "no relation": a row states every positive label above it. With
`bce` that distribution is the one of independent sigmoids, given that at most one label is true.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from relgnn.config import TuningConfig


def supervised_loss(
    logits: Tensor,
    labels: Tensor,
    settings: TuningConfig,
    negative: int | None,
    weights: Tensor | float = 1.0,
) -> Tensor:
    """Mean loss over rows, each times its weight.

    - cross_entropy: -log p_y; with γ = `focal`, (1 - p_y)^γ times that (Lin et al., 2017).
    - bce: the sum of a binary cross-entropy for each positive label, each with its own (1 - p)^γ.
    - threshold: adaptive thresholding (Zhou et al., ATLOP, 2021) with the threshold's logit at 0:
      Σ_{r stated} (log(1 + Σ_{s stated} e^{z_s}) - z_r) + log(1 + Σ_{s not stated} e^{z_s}).

    Args:
        logits: [B, labels], see `RelationClassifier.classify`.
        labels: int64 [B]; or float [B, labels], 1 for each label that a row has.
        settings: loss, focal, label_smoothing.
        negative: the label that says "no relation", which has no loss of its own but in
            cross_entropy; None where there is none.
        weights: of the rows, [B].
    """
    if settings.loss == "cross_entropy":
        each = functional.cross_entropy(
            logits, labels, label_smoothing=settings.label_smoothing, reduction="none"
        )
        if settings.focal > 0:
            sure = logits.log_softmax(1).gather(1, labels[:, None])[:, 0].exp()
            each = _power(1 - sure, settings.focal) * each
        return (weights * each).mean()
    stated = labels if labels.dim() == 2 else functional.one_hot(labels, logits.shape[1])
    positive = [i for i in range(logits.shape[1]) if i != negative]
    logits, stated = logits[:, positive], stated[:, positive].to(logits.dtype)
    if settings.loss == "bce":
        return (weights * _binary(logits, stated, settings)).mean()
    return (weights * above_threshold(logits, stated)).mean()


def _binary(logits: Tensor, stated: Tensor, settings: TuningConfig) -> Tensor:
    smooth = settings.label_smoothing
    target = stated * (1 - smooth) + smooth / 2
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if settings.focal > 0:
        wrong = torch.where(stated > 0, -logits, logits).sigmoid()
        each = _power(wrong, settings.focal) * each
    return each.sum(1)


def _power(x: Tensor, exponent: float) -> Tensor:
    """x^exponent of x >= 0; at 0, where a root has no finite gradient, without one."""
    power: Tensor = x.clamp(min=torch.finfo(x.dtype).tiny) ** exponent
    return power


def above_threshold(logits: Tensor, stated: Tensor) -> Tensor:
    """Loss [B] of adaptive thresholding, see `supervised_loss`; stated is 0 or 1, [B, labels]."""
    threshold = logits.new_zeros(len(logits), 1)

    def log_sum(among: Tensor) -> Tensor:
        kept = logits.masked_fill(~among, float("-inf"))
        return torch.cat([kept, threshold], dim=1).logsumexp(1)

    yes = stated > 0
    above = (stated * (log_sum(yes)[:, None] - logits)).sum(1)
    return above + log_sum(~yes)
