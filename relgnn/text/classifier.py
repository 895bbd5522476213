"""Supervised relation extraction: a whole language model tuned on marked sentences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config import TuningConfig
from relgnn.errors import InputError
from relgnn.text.rows import HEAD, HEAD_START, TAIL, TAIL_START, RowBatch, Rows


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

    def forward(self, batch: RowBatch, embeddings: Tensor | None = None) -> Tensor:
        """Logits [B, outputs]; of `embeddings` in the tokens' place where they are given."""
        return self.classify(self.represent(batch, embeddings))

    def embed(self, batch: RowBatch) -> Tensor:
        """The tokens' embeddings [B, L, d], without positions: what a row is perturbed in."""
        found: Tensor = self.network.get_input_embeddings()(batch.ids)
        return found

    def represent(self, batch: RowBatch, embeddings: Tensor | None = None) -> Tensor:
        """What a row says of its two entities, tanh(W_1 ...), [B, d]."""
        read = {"input_ids": batch.ids} if embeddings is None else {"inputs_embeds": embeddings}
        states = self.network(**read, attention_mask=batch.mask.long()).last_hidden_state
        return torch.tanh(self.hidden(self.dropout(self._pool(states, batch))))

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits [B, outputs] of `represent`'s vectors."""
        logits: Tensor = self.head(self.dropout(vectors))
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


def logits_of(
    model: RelationClassifier,
    rows: Rows,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    batch_size: int = 128,
) -> np.ndarray:
    """Logits [M, outputs] of rows, float32; computed inside `autocast`."""
    model.eval()
    device = next(model.parameters()).device
    out = torch.zeros(len(rows), model.head.out_features)
    with torch.inference_mode(), autocast():
        for part in torch.argsort(rows.lengths).split(batch_size):
            out[part] = model(rows.batch(part, device)).float().cpu()
    return out.numpy()
