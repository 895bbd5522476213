"""A language model cut in two: frozen lower layers that run once, upper layers to be trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.masking_utils import create_bidirectional_mask

from relgnn.errors import InputError
from relgnn.text.encoder import PACKAGED, fingerprint, load_model
from relgnn.text.marking import HEAD, TAIL, Occurrence, TextTokens, mark
from relgnn.text.packed import PackedNetwork, send
from relgnn.training.progress import bar


@dataclass(frozen=True)
class StateBatch:
    """Rows padded to one length.

    Args:
        states: float32 [B, L, d]; zero beyond a row's end.
        mask: bool [B, L].
        mentions: float32 [B, 2, L], 1 for the head's tokens, then for the tail's.
    """

    states: Tensor
    mask: Tensor
    mentions: Tensor


@dataclass(frozen=True)
class LowerStates:
    """What the frozen layers say of M marked rows.

    Rows of one sentence share its states: 2·d bytes a token of a distinct sentence (about 25 MB
    for a thousand sentences of 33 tokens at d = 384) and 9 bytes a token of a row.

    Args:
        states: bfloat16 [T, d] on the CPU, of all texts that were read.
        place: int64 [S], which state each token of a row is.
        owner: int8 [S], whose mention it belongs to; see `marking`.
        offsets: int64 [M + 1], where each row begins and ends.
    """

    states: Tensor
    place: Tensor
    owner: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64 [M]."""
        return self.offsets.diff()

    def batch(self, rows: Tensor, device: torch.device | str = "cpu") -> StateBatch:
        """The given rows [B], padded, on `device`."""
        index, mask = padded_index(self.offsets, rows)
        states = send(self.states[self.place[index]], device).float()
        owner = self.owner[index].masked_fill(~mask, 0)
        mentions = torch.stack([owner == HEAD, owner == TAIL], dim=1).float()
        mask = mask.to(device)
        states = states.masked_fill_(~mask[:, :, None], 0)
        return StateBatch(states, mask, mentions.to(device))


def padded_index(offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tokens of `rows` lie: places [B, L] and whether they are the row's [B, L]."""
    start, length = offsets[rows], offsets[rows + 1] - offsets[rows]
    place = torch.arange(int(length.max()))
    mask = place < length[:, None]
    return torch.where(mask, start[:, None] + place, 0), mask


class TopLayers(nn.Module):
    """The upper layers of an encoder, a copy of their own.

    Args:
        network: a Hugging Face encoder whose layers are `network.encoder.layer`.
        layers: how many of them, from the top.
    """

    def __init__(self, network: Any, layers: int) -> None:
        super().__init__()
        self.config: Any = network.config
        self.layers: Any = copy.deepcopy(network.encoder.layer[-layers:])

    def forward(self, states: Tensor, mask: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Run the layers, the last one only where it is asked for: five sixths of it are spared.

        Args:
            states: [B, L, d], from below.
            mask: bool [B, L].
            places: [B, Q, L], weights with sum 1: the last layer runs for Q mixtures of tokens. One
                token alone gives that token's last hidden state.

        Returns:
            last hidden states of the places [B, Q, d], and the states below the last layer
            [B, L, d].
        """
        wide = create_bidirectional_mask(
            config=self.config, inputs_embeds=states, attention_mask=mask
        )
        for layer in self.layers[:-1]:
            states = layer(states, wide)
        return self._last(self.layers[-1], places.to(states.dtype) @ states, states, mask), states

    @staticmethod
    def _last(layer: Any, queries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        own = layer.attention.self

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split(own.query(queries)), split(own.key(states)), split(own.value(states)),
            attn_mask=mask[:, None, None],
        )  # fmt: skip
        attended = layer.attention.output(mixed.transpose(1, 2).flatten(2), queries)
        last: Tensor = layer.output(layer.intermediate(attended), attended)
        return last


class SplitEncoder:
    """The frozen part of a language model, which reads every text once, and a copy of the rest.

    Args:
        model: see `encoder.load_model`.
        layers: how many upper layers are left to be trained.
        max_tokens: of a marked row; see `marking.mark`.
        text_tokens: of a text; a mention beyond them counts as unnamed.
        batch_tokens: tokens in one padded batch.
        device: where the network runs.
        dtype: the frozen part's number format.

    Raises:
        InputError: the model cannot be loaded, or cannot be cut in two.
    """

    def __init__(
        self,
        model: str = PACKAGED,
        *,
        layers: int = 1,
        max_tokens: int = 64,
        text_tokens: int = 128,
        batch_tokens: int = 8192,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        network, self.tokenizer = load_model(model)
        self.model, self.fingerprint = model, fingerprint(network)
        _require_layers(model, network, layers)
        self.top = TopLayers(network, layers).eval()
        probe = self.tokenizer(["a b c", "a"], return_tensors="pt", padding=True)
        inputs = {"input_ids": probe["input_ids"], "attention_mask": probe["attention_mask"]}
        with torch.no_grad():
            whole = network(**inputs).last_hidden_state
        network.encoder.layer = network.encoder.layer[:-layers]
        _require_equal(model, network, self.top, inputs, whole)
        self.network = PackedNetwork(network, device, dtype)
        self.device = torch.device(device)
        self.max_tokens, self.text_tokens = max_tokens, text_tokens
        self.batch_tokens = batch_tokens
        self._states = torch.zeros(0, int(network.config.hidden_size), dtype=torch.bfloat16)
        self._texts: dict[str, TextTokens] = {}

    def read(self, rows: Sequence[Occurrence]) -> LowerStates:
        """States of marked rows; only texts that were in no earlier rows are run."""
        texts = dict.fromkeys(x for row in rows for x in (row.text, row.head_name, row.tail_name))
        self._read([text for text in texts if text not in self._texts])
        marked = mark(rows, self._texts, self.max_tokens)
        columns = (marked.place, marked.owner, marked.offsets)
        return LowerStates(self._states, *map(torch.from_numpy, columns))

    def forget(self) -> None:
        """Drop the texts that were read, and their states."""
        self._texts.clear()
        self._states = self._states[:0].clone()

    def _read(self, texts: list[str]) -> None:
        if not texts:
            return
        tokens = self.tokenizer(
            texts, truncation=True, max_length=self.text_tokens, return_offsets_mapping=True
        )
        offsets = np.cumsum([0, *map(len, tokens["input_ids"])])
        states = torch.empty(int(offsets[-1]), self._states.shape[1], dtype=torch.bfloat16)
        with bar("reading sentences", len(texts)) as shown:
            for items, group in self.network.read(tokens["input_ids"], self.batch_tokens):
                place = offsets[items, None] + np.arange(group.shape[1])
                states[place] = group.to("cpu", torch.bfloat16)
                shown.advance(len(items))
        first = len(self._states)
        self._states = torch.cat([self._states, states]) if first else states
        starts = offsets[:-1].tolist()
        for text, start, where in zip(texts, starts, tokens["offset_mapping"], strict=True):
            self._texts[text] = TextTokens(first + start, np.array(where, dtype=np.int32))


def _require_layers(model: str, network: Any, layers: int) -> None:
    stack = getattr(getattr(network, "encoder", None), "layer", None)
    if not isinstance(stack, nn.ModuleList):
        raise InputError(_unsupported(model, f"{type(network).__name__} has no encoder.layer"))
    if not 0 < layers < len(stack):
        raise InputError(
            f"loop.extractor.layers is {layers}: {model!r} has {len(stack)} layers; "
            f"set it from 1 to {len(stack) - 1}"
        )


def _require_equal(
    model: str, below: Any, top: TopLayers, inputs: dict[str, Tensor], whole: Tensor
) -> None:
    """Both parts in turn must be the whole: some models do more between or within layers."""
    mask = inputs["attention_mask"].bool()
    each = torch.eye(mask.shape[1]).expand(len(mask), -1, -1)
    try:
        with torch.no_grad():
            parts = top(below(**inputs).last_hidden_state, mask, each)[0]
        same = torch.allclose(parts[mask], whole[mask], rtol=1e-3, atol=1e-3)
    except (TypeError, RuntimeError, AttributeError):
        same = False
    if not same:
        raise InputError(_unsupported(model, "its layers cannot be run one by one"))


def _unsupported(model: str, reason: str) -> str:
    return (
        f"text.model: {model!r} cannot be tuned as a relation extractor ({reason}); take a model "
        f"of the kind BERT, RoBERTa, XLM-RoBERTa or ELECTRA, or {PACKAGED!r}"
    )
