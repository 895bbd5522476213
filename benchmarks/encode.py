"""Encoding 3,000 descriptions of FB15k-237's entities with the packaged MiniLM."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.measure import Bench, Call, Pair
from relgnn.data.registry import load
from relgnn.runtime import native_bf16, rng
from relgnn.text.encoder import PACKAGED, TextEncoder, load_model, model_path
from relgnn.text.packed import CPU_TOKENS

TEXTS = 3000
# As many as sentence-transformers reads of a text.
MAX_TOKENS = 256
OURS, INT8, PEER = "ours", "ours, int8 weights", "sentence-transformers encode"


@functools.cache
def descriptions() -> list[str]:
    """Drawn at random; half have more than 24 tokens, one in twenty more than 56."""
    texts = [text for text in load("fb15k237").entity_descriptions if text.strip()]
    return [texts[i] for i in rng("benchmark texts", 0).permutation(len(texts))[:TEXTS]]


def fastest() -> torch.dtype:
    """The number format that the processor is fastest at."""
    return torch.bfloat16 if native_bf16(torch.device("cpu")) else torch.float32


def ours(weights: Any = "full") -> Call:
    """Our encoder without a cache."""
    encoder = TextEncoder(max_tokens=MAX_TOKENS, dtype=fastest(), weights=weights)
    return lambda: encoder.encode(descriptions())


def peer() -> Call:
    """The same weights with the peer's defaults: batches of 32, float32."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(model_path(PACKAGED), device="cpu")
    return lambda: model.encode(descriptions(), convert_to_tensor=True)


def bare_products() -> Call:
    """The matrix products of the network's linear layers alone."""
    network, tokenizer = load_model(PACKAGED)
    tokens = tokenizer(descriptions(), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    total = sum(map(len, tokens))
    weights = [
        weight.detach().to(fastest())
        for name, weight in network.encoder.named_parameters()
        if weight.ndim == 2
    ]
    given = {w.shape[1]: torch.ones(CPU_TOKENS, w.shape[1], dtype=w.dtype) for w in weights}

    def call() -> None:
        for first in range(0, total, CPU_TOKENS):
            for weight in weights:
                torch.nn.functional.linear(given[weight.shape[1]][: total - first], weight)

    return call


def cosines(last: dict[str, Any]) -> list[str]:
    """How alike the vectors are."""
    said = []
    for name in (OURS, INT8):
        if name in last and PEER in last:
            cosine = (last[name] * last[PEER]).sum(1)
            said.append(
                f"{name}: cosine to the peer's vectors {cosine.min():.4f} at least, "
                f"{cosine.mean():.4f} on average"
            )
    return said


BENCH = Bench(
    module=__name__,
    sides={
        OURS: ours,
        INT8: functools.partial(ours, "int8"),
        "bare matrix products": bare_products,
        PEER: peer,
    },
    pairs=[
        Pair("encode_sentence_transformers", OURS, PEER, "bare matrix products"),
        Pair("encode_int8", INT8, PEER, "bare matrix products"),
    ],
    versions={"sentence-transformers": f"sentence-transformers {version('sentence-transformers')}"},
    check=cosines,
)
