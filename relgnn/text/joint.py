"""Joint extraction: one language model that finds the mentions and the relations between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from relgnn.config.joint import JointSettings
from relgnn.data.joint import Mention
from relgnn.dropout import Dropout, set_dropout
from relgnn.runtime import model_device
from relgnn.spans import spread
from relgnn.text.joint_rows import NO_MENTION, SHAPES, JointBatch, Sentences
from relgnn.text.pooling import range_max

KIND_DIM = 25


class Reading(NamedTuple):
    """A batch as the language model sees it.

    Args:
        states: float [B · L, d], last hidden states of all tokens.
        first: float [B, d], those of each sentence's first token.
    """

    states: Tensor
    first: Tensor


class JointModel(nn.Module):
    """P(kind | span) by softmax and P(relation | two mentions) by a sigmoid each.

        span:  W_2 GELU(W_1 [max x ; width ; x_first])
        pair:  V_2 GELU(V_1 [max x_head ; max x_tail ; max x_between ; kinds ; widths ; order])

    with x the last hidden states, where how a token is written (its capitals, digits) joins its
    embedding, from zero on (Eberts and Ulges, SpERT, 2020, there with one linear layer and
    without kinds, order and spelling).

    Args:
        network: a Hugging Face encoder.
        kinds: types of entities.
        labels: number of relations.
        settings: sizes and dropout.

    Attributes:
        threshold: probability from which on a relation is said to hold; a buffer.
    """

    threshold: Tensor

    def __init__(self, network: Any, kinds: int, labels: int, settings: JointSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        set_dropout(network, settings.dropout)
        dim, width = int(network.config.hidden_size), settings.width_dim
        # as wide as a token's embedding, which in ALBERT is narrower than a state
        self.shape = nn.Embedding(SHAPES, network.get_input_embeddings().embedding_dim)
        nn.init.zeros_(self.shape.weight)
        self.width = nn.Embedding(settings.longest + 1, width)
        self.kind = nn.Embedding(kinds, KIND_DIM)
        self.order = nn.Embedding(2, KIND_DIM)
        self.span = _two_layers(2 * dim + width, dim, kinds + 1, settings.dropout)
        self.pair = _two_layers(3 * dim + 2 * width + 3 * KIND_DIM, dim, labels, settings.dropout)
        self.register_buffer("threshold", torch.tensor(0.5))

    def read(self, batch: JointBatch) -> Reading:
        """Run the language model."""
        embeddings = self.network.get_input_embeddings()(batch.ids) + self.shape(batch.shape)
        found = self.network(inputs_embeds=embeddings, attention_mask=batch.mask.long())
        states = found.last_hidden_state.float()
        return Reading(states.flatten(0, 1), states[:, 0])

    def spans(self, batch: JointBatch, reading: Reading, spans: Tensor) -> Tensor:
        """Logits [N, 1 + kinds] of spans [N, 2] in words [start, end); see `NO_MENTION`."""
        pooled = range_max(reading.states, *_tokens(batch, spans))
        parts = [pooled, self._width(spans), reading.first[batch.sentence[spans[:, 0]]]]
        logits: Tensor = self.span(torch.cat(parts, 1))
        return logits.float()

    def pairs(self, batch: JointBatch, reading: Reading, mentions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every ordered pair of mentions of one sentence.

        Args:
            batch, reading: the sentences.
            mentions: int64 [E, 3], words [start, end) and kind, sentence by sentence.

        Returns:
            head and tail of each pair, int64 [P, 2], and logits [P, labels].
        """
        pairs = _ordered_pairs(batch.sentence[mentions[:, 0]], len(batch.ids))
        vectors = torch.cat(
            [range_max(reading.states, *_tokens(batch, mentions)), self.kind(mentions[:, 2]),
             self._width(mentions)], 1
        )  # fmt: skip
        head, tail = mentions[pairs[:, 0]], mentions[pairs[:, 1]]
        ahead = (head[:, 0] < tail[:, 0])[:, None]
        first, second = torch.where(ahead, head, tail), torch.where(ahead, tail, head)
        between = torch.stack([first[:, 1], torch.maximum(first[:, 1], second[:, 0])], 1)
        starts = torch.cat([batch.words[:, 0], batch.words[-1:, 1]])
        context = range_max(reading.states, starts[between[:, 0]], starts[between[:, 1]])
        parts = [
            vectors[pairs[:, 0]],
            vectors[pairs[:, 1]],
            context,
            self.order(ahead[:, 0].long()),
        ]
        logits: Tensor = self.pair(torch.cat(parts, 1))
        return pairs, logits.float()

    def _width(self, spans: Tensor) -> Tensor:
        width: Tensor = self.width((spans[:, 1] - spans[:, 0]).clamp(max=self.settings.longest))
        return width


def _two_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        Dropout(dropout), nn.Linear(inputs, hidden), nn.GELU(), Dropout(dropout),
        nn.Linear(hidden, outputs),
    )  # fmt: skip


def _tokens(batch: JointBatch, spans: Tensor) -> tuple[Tensor, Tensor]:
    return batch.words[spans[:, 0], 0], batch.words[spans[:, 1] - 1, 1]


def _ordered_pairs(sentence: Tensor, sentences: int) -> Tensor:
    """Every (i, j), i ≠ j, of one sentence, int64 [P, 2], from the sorted owners [E]."""
    count = torch.bincount(sentence, minlength=sentences)
    first = count.cumsum(0) - count
    head, tail = spread(first[sentence], count[sentence])
    pairs = torch.stack([head, tail], 1)
    return pairs[head != tail]


class Found(NamedTuple):
    """What a model found in one sentence.

    Args:
        mentions: that do not overlap, in the order of the sentence.
        pairs: int64 [P, 2], places in `mentions`.
        probabilities: float32 [P, labels].
    """

    mentions: tuple[Mention, ...]
    pairs: np.ndarray
    probabilities: np.ndarray


def extract(
    model: JointModel,
    sentences: Sentences,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    batch_size: int = 64,
) -> list[Found]:
    """Mentions and probabilities of relations, sentence by sentence; computed inside `autocast`."""
    model.eval()
    device = model_device(model)
    found: dict[int, Found] = {}
    for rows in torch.argsort(sentences.lengths, stable=True).split(batch_size):
        batch = sentences.batch(rows, device)
        with torch.inference_mode(), autocast():
            reading = model.read(batch)
            mentions = _decode(model, batch, reading)
            pairs, logits = model.pairs(batch, reading, mentions)
        found.update(zip(rows.tolist(), _apart(batch, mentions, pairs, logits), strict=True))
    return [found[i] for i in range(len(sentences))]


def _apart(batch: JointBatch, mentions: Tensor, pairs: Tensor, logits: Tensor) -> Iterator[Found]:
    """What was found, with words and mentions counted within each sentence."""
    sentence, words = batch.sentence.cpu(), mentions.cpu()
    owner = sentence[words[:, 0]]
    of_pair, ends, probabilities = owner[pairs.cpu()[:, 0]], pairs.cpu(), logits.sigmoid().cpu()
    for i in range(len(batch.ids)):
        own, between = owner == i, of_pair == i
        first_word, first = int((sentence < i).sum()), int((owner < i).sum())
        yield Found(
            tuple(
                Mention(start - first_word, end - first_word, kind)
                for start, end, kind in words[own].tolist()
            ),
            (ends[between] - first).numpy(),
            probabilities[between].numpy(),
        )


def _decode(model: JointModel, batch: JointBatch, reading: Reading) -> Tensor:
    """The likeliest mentions [E, 3] of which no two overlap, taken greedily."""
    spans = batch.spans(model.settings.longest)
    best, kind = model.spans(batch, reading, spans).log_softmax(1).max(1)
    named = kind != NO_MENTION
    spans, best, kind = spans[named], best[named], kind[named]
    order = torch.argsort(best, descending=True, stable=True)
    free = np.ones(len(batch.words), dtype=bool)
    taken = []
    for (start, end), one in zip(spans[order].tolist(), kind[order].tolist(), strict=True):
        if free[start:end].all():
            free[start:end] = False
            taken.append((start, end, one - 1))
    return torch.tensor(sorted(taken), dtype=torch.long, device=spans.device).reshape(-1, 3)
