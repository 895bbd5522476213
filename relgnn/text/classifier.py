"""Supervised relation extraction: a whole language model tuned on marked sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from relgnn.config import TuningConfig
from relgnn.data.relations import RelationData
from relgnn.errors import InputError
from relgnn.ranking.classification import f1_scores
from relgnn.text.rows import HEAD, HEAD_START, TAIL, TAIL_START, RowBatch, Rows
from relgnn.training import Task


class RelationClassifier(nn.Module):
    """P(relation | sentence, head, tail) by softmax.

        logits = W_2 tanh(W_1 dropout[x_head ; x_tail ; x_first])

    with x the last hidden states of the entities' markers and the means over their tokens (Wu and
    He, R-BERT, 2019; Baldini Soares et al., Matching the Blanks, 2019).

    Args:
        network: a Hugging Face encoder.
        outputs: number of labels.
        settings: pooling, dropout, and how many layers are tuned.
    """

    def __init__(self, network: Any, outputs: int, settings: TuningConfig) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = settings.dropout
        _freeze(network, settings.layers)
        width = int(network.config.hidden_size)
        parts = 2 * (2 if settings.pooling == "both" else 1) + settings.first
        self.dropout = nn.Dropout(settings.dropout)
        self.hidden = nn.Linear(parts * width, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, batch: RowBatch) -> Tensor:
        """Logits [B, outputs]."""
        states = self.network(
            input_ids=batch.ids, attention_mask=batch.mask.long()
        ).last_hidden_state
        logits: Tensor = self.head(self.dropout(torch.tanh(self.hidden(self.dropout(
            self._pool(states, batch)
        )))))  # fmt: skip
        return logits.float()

    def _pool(self, states: Tensor, batch: RowBatch) -> Tensor:
        kinds = {
            "markers": (HEAD_START, TAIL_START),
            "spans": (HEAD, TAIL),
            "both": (HEAD_START, TAIL_START, HEAD, TAIL),
        }[self.settings.pooling]
        weight = torch.stack([(batch.role == kind) for kind in kinds], dim=1).to(states.dtype)
        means = weight @ states / weight.sum(2, keepdim=True).clamp(min=1)
        parts = [*means.unbind(1)]
        if self.settings.first:
            parts.append(states[:, 0])
        return torch.cat(parts, dim=1)


class ClassifierTask(Task[Tensor]):
    """Cross-entropy over labelled sentences; batches of like length.

    Args:
        model: what is trained.
        rows, labels: train, [M].
        valid: rows and labels [V] that select; None for none.
        data: whose labels they are.
        settings: loss and rates.
    """

    name = "relation classifier"

    def __init__(
        self,
        model: RelationClassifier,
        rows: Rows,
        labels: Tensor,
        valid: tuple[Rows, Tensor] | None,
        data: RelationData,
        settings: TuningConfig,
    ) -> None:
        self._model, self.rows, self.labels = model, rows, labels
        self.valid, self.data, self.settings = valid, data, settings

    @property
    def model(self) -> nn.Module:
        return self._model

    def num_batches(self, epoch: int) -> int:
        return -(-len(self.rows) // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterable[Tensor]:
        order = torch.randperm(len(self.rows), generator=generator)
        size = self.settings.batch_size
        # Sorting within windows of many batches keeps chance and spares padding.
        parts = [
            part
            for window in order.split(16 * size)
            for part in window[torch.argsort(self.rows.lengths[window], stable=True)].split(size)
        ]
        return [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]

    def items(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        device = next(self._model.parameters()).device
        rows, labels = self.rows.batch(batch, device), self.labels[batch].to(device)
        logits = self._model(rows)
        loss = self._supervised(logits, labels)
        if self.settings.r_drop > 0:
            other = self._model(rows)
            loss = (loss + self._supervised(other, labels)) / 2
            loss = loss + self.settings.r_drop * symmetric_kl(logits, other)
        return loss

    def _supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        settings = self.settings
        each = functional.cross_entropy(
            logits, labels, label_smoothing=settings.label_smoothing, reduction="none"
        )
        if settings.focal > 0:
            sure = logits.log_softmax(1).gather(1, labels[:, None])[:, 0].exp()
            each = (1 - sure) ** settings.focal * each
        return each.mean()

    def evaluate(self) -> dict[str, float]:
        if self.valid is None:
            return {}
        rows, labels = self.valid
        predicted = logits_of(self._model, rows).argmax(1)
        return f1_scores(labels.numpy(), predicted, self.data.positive, self.data.families)

    def tensors(self, batch: Tensor) -> dict[str, Tensor]:
        """Which sentences they are, their token ids and their labels."""
        rows = self.rows.batch(batch)
        return {"sentence": batch, "ids": rows.ids, "role": rows.role, "label": self.labels[batch]}

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        network = self._model.network
        layers = list(network.encoder.layer)
        depth = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in self._model.named_parameters():
            if not p.requires_grad:
                continue
            rate = self.settings.head_lr
            if name.startswith("network."):
                rate = lr * self.settings.layer_decay ** (len(layers) - depth.get(id(p), 0))
            decay = 0.0 if p.dim() < 2 else weight_decay
            groups.setdefault((rate, decay), []).append(p)
        return [
            {"params": params, "lr": rate, "weight_decay": decay}
            for (rate, decay), params in groups.items()
        ]


def _freeze(network: Any, layers: int | None) -> None:
    """Leave only the upper `layers` to be trained, and everything where it is None."""
    if layers is None:
        return
    stack = list(network.encoder.layer)
    if layers > len(stack):
        raise InputError(
            f"extraction.layers is {layers} and the language model has {len(stack)} layers; take "
            "fewer, or null for all"
        )
    network.requires_grad_(False)
    for layer in stack[len(stack) - layers :]:
        layer.requires_grad_(True)


def symmetric_kl(left: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of (KL(p ‖ q) + KL(q ‖ p)) / 2 of two softmaxes over logits [B, C]."""
    p, q = left.log_softmax(1), right.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1).mean() / 2


def logits_of(model: RelationClassifier, rows: Rows, batch_size: int = 128) -> np.ndarray:
    """Logits [M, outputs] of rows, float32."""
    model.eval()
    device = next(model.parameters()).device
    out = torch.zeros(len(rows), model.head.out_features)
    with torch.inference_mode():
        for part in torch.argsort(rows.lengths).split(batch_size):
            out[part] = model(rows.batch(part, device)).float().cpu()
    return out.numpy()
