"""Cross-entropy of 1,024 queries among all entities of WN18RR at width 200, with its gradient."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import Bench, Call, Pair
from relgnn.data.registry import load
from relgnn.gnn.one_vs_all import product_cross_entropy

WIDTH, QUERIES, SCALE = 200, 1024, 0.3
NEAR = 1e-4
"""Relative distance of two gradients in float32 that counts as none."""

Gradients = tuple[Tensor, Tensor]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Queries [1024, 200], entities [N, 200] and the right ones, int64 [1024]."""
    entities, draw = load("wn18rr").num_entities, torch.Generator().manual_seed(0)
    queries, vectors = (
        (SCALE * torch.randn(rows, WIDTH, generator=draw)).requires_grad_()
        for rows in (QUERIES, entities)
    )
    return queries, vectors, torch.randint(entities, (QUERIES,), generator=draw)


def ours(half: bool = False) -> Call:
    """A block of entities at a time."""
    queries, vectors, targets = batch()
    weights = torch.ones(QUERIES)

    def call() -> Gradients:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = product_cross_entropy(queries, vectors, targets, weights)
        to_queries, to_vectors = torch.autograd.grad(loss, (queries, vectors))
        return to_queries, to_vectors

    return call


def pytorch(half: bool = False) -> Call:
    """All scores, and PyTorch's loss of them."""
    queries, vectors, targets = batch()

    def call() -> Gradients:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = functional.cross_entropy(queries @ vectors.t(), targets)
        to_queries, to_vectors = torch.autograd.grad(loss, (queries, vectors))
        return to_queries, to_vectors

    return call


def bare_products() -> Call:
    """The three products that no way around can save: scores, and both gradients from them."""
    queries, vectors, _ = batch()
    scores = torch.empty(QUERIES, len(vectors))
    q, x = queries.detach(), vectors.detach()
    by_query, by_vector = torch.empty_like(q), torch.empty_like(x)

    def call() -> None:
        torch.mm(q, x.t(), out=scores)
        torch.mm(scores, x, out=by_query)
        torch.mm(scores.t(), q, out=by_vector)

    return call


def same_gradients(last: dict[str, Gradients]) -> list[str]:
    """How far each side's gradients are from PyTorch's in float32."""
    expected = last.get("PyTorch cross_entropy")
    if expected is None:
        return []
    said = []
    for name in last.keys() & {"ours", "ours, bfloat16", "PyTorch cross_entropy, bfloat16"}:
        far = max(
            float((mine - theirs).norm() / theirs.norm())
            for mine, theirs in zip(last[name], expected, strict=True)
        )
        equal = f", equal within {NEAR:g}" if far < NEAR else ""
        said.append(f"gradients of {name}: {far:.1e} from PyTorch's in float32{equal}")
    return sorted(said)


BENCH = Bench(
    module=__name__,
    sides={
        "ours": ours,
        "ours, bfloat16": functools.partial(ours, True),
        "bare matrix products": bare_products,
        "PyTorch cross_entropy": pytorch,
        "PyTorch cross_entropy, bfloat16": functools.partial(pytorch, True),
    },
    pairs=[
        Pair("loss_pytorch", "ours", "PyTorch cross_entropy", "bare matrix products"),
        Pair("loss_bf16_pytorch", "ours, bfloat16", "PyTorch cross_entropy, bfloat16"),
    ],
    versions={"PyTorch": f"torch {torch.__version__}"},
    check=same_gradients,
)
