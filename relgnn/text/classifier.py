"""Supervised relation extraction: a whole language model tuned on marked sentences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config import TuningConfig
from relgnn.dropout import Dropout, set_dropout
from relgnn.errors import InputError
from relgnn.text.attention import attend_openly, between
from relgnn.text.marking import HEAD, TAIL
from relgnn.text.rows import HEAD_START, TAIL_START, RowBatch, Rows

if TYPE_CHECKING:
    from relgnn.text.ensemble import Ensemble


class RelationClassifier(nn.Module):
    """P(relation | sentence, head, tail) by softmax, or by sigmoids above a threshold.

        logits = W_2 tanh(W_1 dropout[x_head ; x_tail ; x_first ; a])

    with x the last hidden states of the entities' markers and the means over their tokens (Wu and
    He, R-BERT, 2019; Baldini Soares et al., Matching the Blanks, 2019), and a the largest attention
    weights between the two, where there are such features.

    Args:
        network: a Hugging Face encoder.
        outputs: number of labels.
        settings: pooling, attention features, loss, dropout, and how many layers are tuned.
        negative: the label that says "no relation"; None where there is none.

    Raises:
        InputError: the network has fewer layers than are to be tuned, none that can be told apart
            where that is asked for, hides its attention, or cannot compute activations twice.
    """

    def __init__(
        self, network: Any, outputs: int, settings: TuningConfig, negative: int | None = None
    ) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.outputs, self.negative = outputs, negative
        if settings.attention:
            attend_openly(network)
        set_dropout(network, settings.dropout)
        _require_layers(network, settings)
        _freeze(network, settings.layers)
        if settings.checkpointing:
            _checkpoint(network)
        width = int(network.config.hidden_size)
        parts = 2 * (2 if settings.pooling == "both" else 1) + settings.first
        self.dropout = Dropout(settings.dropout)
        self.hidden = nn.Linear(parts * width + settings.attention, width)
        own_threshold = settings.loss == "threshold" and negative is None
        self.head = nn.Linear(width, outputs + own_threshold)

    @property
    def device(self) -> torch.device:
        """Where its rows have to be."""
        return self.head.weight.device

    def place(self, device: torch.device) -> RelationClassifier:
        """Move to a device all that no device map has placed; returns itself."""
        for name, part in self.named_children():
            if name != "network" or len(set(getattr(part, "hf_device_map", {}).values())) < 2:
                part.to(device)
        return self

    @property
    def frozen(self) -> bool:
        """Whether nothing of the language model is tuned: a row then always reads the same."""
        return self.settings.layers == 0 and not any(
            p.requires_grad for p in self.network.parameters()
        )

    def train(self, mode: bool = True) -> RelationClassifier:
        """As of any module, but a frozen language model reads without dropout."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def forward(self, batch: RowBatch, embeddings: Tensor | None = None) -> Tensor:
        """Logits [B, outputs]; of `embeddings` in the tokens' place where they are given."""
        return self.classify(self.represent(batch, embeddings))

    def embed(self, batch: RowBatch) -> Tensor:
        """The tokens' embeddings [B, L, d], without positions: what a row is perturbed in."""
        found: Tensor = self.network.get_input_embeddings()(batch.ids)
        return found

    def represent(self, batch: RowBatch, embeddings: Tensor | None = None) -> Tensor:
        """What a row says of its two entities, tanh(W_1 ...), [B, d]."""
        return self.project(self.encode(batch, embeddings))

    def project(self, states: Tensor) -> Tensor:
        """tanh(W_1 dropout(...)), [B, d], of what `encode` gave."""
        return torch.tanh(self.hidden(self.dropout(states)))

    def encode(self, batch: RowBatch, embeddings: Tensor | None = None) -> Tensor:
        """What W_1 reads: the language model's states at both entities, [B, parts]."""
        read = {"input_ids": batch.ids} if embeddings is None else {"inputs_embeds": embeddings}
        count = self.settings.attention
        asked = {"output_attentions": True} if count else {}
        found = self.network(**read, attention_mask=batch.mask.long(), **asked)
        parts = self._pool(found.last_hidden_state, batch)
        if count:
            weights, _ = between(found.attentions, batch, count)
            parts = torch.cat([parts, weights.to(parts.dtype)], dim=1)
        return parts

    def classify(self, vectors: Tensor) -> Tensor:
        """Logits [B, outputs] of `represent`'s vectors.

        Where the loss is not cross-entropy they count from that of "no relation", which is 0: from
        a constant (bce), or from the negative label's output, or else one of its own (threshold).
        """
        logits: Tensor = self.head(self.dropout(vectors)).float()
        if self.settings.loss == "bce" and self.negative is not None:
            none = torch.tensor([self.negative], device=logits.device)
            logits = logits.index_fill(1, none, 0.0)
        if self.settings.loss == "threshold":
            own = self.outputs if self.negative is None else self.negative
            logits = (logits - logits[:, own, None])[:, : self.outputs]
        return logits

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


def layers_of(network: Any) -> list[nn.Module]:
    """A network's layers from the lowest on; none where they do not lie as BERT's do."""
    return list(getattr(getattr(network, "encoder", None), "layer", ()))


def _require_layers(network: Any, settings: TuningConfig) -> None:
    """Refuse to treat layers apart where they do not lie as BERT's do."""
    if layers_of(network):
        return
    for key, value, idle in (
        ("layers", settings.layers, (None, 0)), ("layer_decay", settings.layer_decay, (1,))
    ):  # fmt: skip
        if value not in idle:
            raise InputError(
                f"extraction.{key} is {value}, and {type(network).__name__} has no encoder.layer "
                f"as BERT has, by which its layers could be told apart; set it to "
                f"{' or '.join('null' if x is None else str(x) for x in idle)}"
            )


def _freeze(network: Any, layers: int | None) -> None:
    """Leave only the upper `layers` to be trained, and everything where it is None."""
    if layers is None:
        return
    stack = layers_of(network)
    if layers > len(stack):
        raise InputError(
            f"extraction.layers is {layers} and the language model has {len(stack)} layers; take "
            "fewer, or null for all"
        )
    network.requires_grad_(False)
    for layer in stack[len(stack) - layers :]:
        layer.requires_grad_(True)


def _checkpoint(network: Any) -> None:
    """Keep each layer's input alone, and compute the rest again in the backward pass.

    Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """
    if not getattr(network, "supports_gradient_checkpointing", False):
        raise InputError(
            f"extraction.checkpointing: {type(network).__name__} cannot compute its activations "
            "twice; set it to false and lower extraction.batch_size"
        )
    network.activation_checkpointing_enable({"use_reentrant": False})


def gather_gradient(embedding: nn.Module) -> None:
    """Collect the gradient of an embedding table in one buffer that is kept.

    A batch reads few of its rows, and a CPU takes longer to allocate and clear a new table of
    zeros in every step than to compute the rows. The gradient is the same.
    """
    if not isinstance(embedding, nn.Embedding) or embedding.sparse:
        return
    table = embedding.weight
    if not table.requires_grad:
        return
    embedding.sparse = True
    kept = torch.empty_like(table)

    def spread(parameter: Tensor) -> None:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = kept.zero_().add_(parameter.grad)

    table.register_post_accumulate_grad_hook(spread)


def logits_of(
    model: RelationClassifier | Ensemble,
    rows: Rows,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> np.ndarray:
    """Logits [M, outputs] of rows, float32; computed inside `autocast`."""
    return _read(model, rows, model, model.outputs, autocast).numpy()


@torch.inference_mode()
def logits_of_states(
    model: RelationClassifier,
    states: Tensor,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> np.ndarray:
    """The same of what `states_of` read [M, parts], on the model's device."""
    model.eval()
    with autocast():
        logits: np.ndarray = model.classify(model.project(states)).float().cpu().numpy()
    return logits


def states_of(
    model: RelationClassifier,
    rows: Rows,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """What `encode` reads of rows, float32 [M, parts] on the CPU; computed inside `autocast`."""
    return _read(model, rows, model.encode, model.hidden.in_features, autocast)


def _read(
    model: RelationClassifier | Ensemble,
    rows: Rows,
    ask: Callable[[RowBatch], Tensor],
    width: int,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> Tensor:
    model.eval()
    out = torch.zeros(len(rows), width)
    with torch.inference_mode(), autocast():
        for part in torch.argsort(rows.lengths).split(128):
            out[part] = ask(rows.batch(part, model.device)).float().cpu()
    return out
