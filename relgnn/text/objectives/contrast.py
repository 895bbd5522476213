"""Sentences of one relation should be near each other, and far from those of others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from relgnn.config.objectives import ContrastConfig
from relgnn.text.classifier import RelationClassifier
from relgnn.text.objectives.base import Objective, Step
from relgnn.text.objectives.running_mean import move, running_mean


def projection(width: int, dim: int) -> nn.Sequential:
    """From a sentence's vector to what is contrasted, as in Khosla et al. (2020)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))


def contrast(similarity: Tensor, positive: Tensor, known: Tensor) -> Tensor:
    """Supervised contrastive loss, the form "out" of Khosla et al. (2020).

        mean over anchors i of  -1/|P(i)| Σ_{p ∈ P(i)} log( exp s_ip / Σ_{a known} exp s_ia )

    Anchors without a positive do not count; without any, the loss is 0.

    Args:
        similarity: [B, K] of anchors and keys, divided by the temperature.
        positive: bool [B, K], P(i).
        known: bool [B, K] or [K], what an anchor is compared with.
    """
    among = similarity.masked_fill(~known, float("-inf")).logsumexp(1, keepdim=True)
    count = positive.sum(1)
    # filled, not multiplied by 0: what an anchor with nothing to compare with has is infinite
    each = (among - similarity).masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)


def same_label(left: Tensor, right: Tensor, negative: int | None) -> Tensor:
    """Which rows [B] and [K] are positives of each other, bool [B, K].

    Rows with several labels, [B, labels] and [K, labels], are where they share one. Sentences
    without a relation have nothing in common: the negative label makes no positives.
    """
    if left.dim() == 2:
        counted = torch.ones(left.shape[1], device=left.device)
        if negative is not None:
            counted[negative] = 0
        return (left * counted) @ right.T > 0
    same = left[:, None] == right[None, :]
    return same if negative is None else same & (left != negative)[:, None]


class BatchContrast(Objective):
    """weight · supervised contrast within the batch.

    A sentence without a relation pulls nothing and is only what others are pushed from.

    Args:
        settings: kind batch.
        width: of the sentences' vectors.
        negative: the label that says "no relation".
    """

    def __init__(self, settings: ContrastConfig, width: int, negative: int | None) -> None:
        super().__init__()
        self.settings, self.negative = settings, negative
        self.projection = projection(width, settings.dim)

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        found = normalize(self.projection(step.vectors).float(), dim=1)
        others = ~torch.eye(len(found), dtype=torch.bool, device=found.device)
        positive = same_label(step.labels, step.labels, self.negative) & others
        similarity = found @ found.T / self.settings.temperature
        return self.settings.weight * contrast(similarity, positive, others)


class QueueContrast(Objective):
    """weight · contrast with a queue that a momentum encoder fills (MoCo, He et al., 2020).

    The encoder k is a running mean of the trained one, θ_k ← m θ_k + (1 - m) θ after each step. It
    encodes the batch under a dropout mask of its own; an anchor's positives are its own key, and
    the keys and queued vectors of its label. A sentence without a relation has only its own key.

    Args:
        settings: kind queue.
        model: that is trained; its frozen weights are shared, not copied.
        negative: the label that says "no relation".
    """

    keys: Tensor
    labels: Tensor
    place: Tensor

    def __init__(
        self, settings: ContrastConfig, model: RelationClassifier, negative: int | None
    ) -> None:
        super().__init__()
        self.settings, self.negative = settings, negative
        self.projection = projection(model.hidden.out_features, settings.dim)
        self.mean_model = running_mean(model)
        self.mean_projection = running_mean(self.projection)
        self.register_buffer("keys", torch.zeros(settings.size, settings.dim))
        kind = (model.outputs,) if model.settings.multi_label else ()
        dtype = torch.float32 if kind else torch.long
        self.register_buffer("labels", torch.zeros(settings.size, *kind, dtype=dtype))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def forward(self, step: Step) -> Tensor:
        """See `Objective`."""
        found = normalize(self.projection(step.vectors).float(), dim=1)
        with torch.no_grad():
            vectors = self.mean_model.represent(step.rows)
            own = normalize(self.mean_projection(vectors).float(), dim=1)
        queued = torch.arange(len(self.keys), device=own.device) < self.place
        known = torch.cat([queued.new_ones(len(own)), queued])
        labels = torch.cat([step.labels, self.labels])
        positive = same_label(step.labels, labels, self.negative) & known
        positive[:, : len(own)] |= torch.eye(len(own), dtype=torch.bool, device=own.device)
        similarity = found @ torch.cat([own, self.keys]).T / self.settings.temperature
        loss = contrast(similarity, positive, known)
        self._put(own, step.labels)
        return self.settings.weight * loss

    def stepped(self, model: RelationClassifier) -> None:
        """See `Objective`."""
        move(self.mean_model, model, self.settings.momentum)
        move(self.mean_projection, self.projection, self.settings.momentum)

    def _put(self, own: Tensor, labels: Tensor) -> None:
        """The newest in the place of the oldest."""
        own, labels = own[-self.settings.size :], labels[-self.settings.size :]
        at = (self.place + torch.arange(len(own), device=own.device)) % self.settings.size
        self.keys[at], self.labels[at] = own, labels
        self.place += len(own)
