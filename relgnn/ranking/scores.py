"""Scores of all entities that are made block by block, so that [queries, entities] never exists.

Measured on FB15k-237 with a trained DistMult of width 200 (40,932 answers, 14,541 entities, one
thread with AVX-512): ranking by `Products` took 0.73 times as long as the bare float32 products of
all answers' queries, since a query is multiplied once for all its answers, and 0.30 times with
bfloat16 first. With random vectors, whose targets rank in the middle of a crowd, these were 0.73
and 0.65.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from relgnn.errors import InputError
from relgnn.ranking.count import Asked, Band, Doubt, count, inner_products
from relgnn.runtime import Precision

CACHED = 1 << 20  # products at once on the CPU, to be counted while they are in the cache
LARGE = 1 << 25  # scores at once where they are dear, or on a GPU: 128 MiB
ROWS = 1 << 16  # vectors whose norms are taken at once
ROUNDOFF = 2.0**-8  # of bfloat16, which has 8 significant bits
FLUSH = 2.0**-100  # above what is lost where numbers below 2^-126 are taken as zero


@dataclass(frozen=True)
class Blockwise:
    """Scores [B, N] of a batch of queries whose columns are made when they are asked for.

    Attributes:
        size: N.
        columns: a block of entities -> scores [B, n], the same whenever it is asked.
    """

    size: int
    columns: Callable[[slice], Tensor]


class Candidates:
    """Vectors of all entities for scores that are inner products, with what bounds their rounding.

    Args:
        vectors: [N, d], in float32 or less.
        first_pass: what `Products` multiplies in. Ranks do not depend on it.

    Raises:
        InputError: the vectors are float64, which the products would round.
    """

    def __init__(self, vectors: Tensor, first_pass: Precision = "fp32") -> None:
        if vectors.dtype == torch.float64:
            raise InputError(
                "the candidates' vectors are float64 but products are made in float32; give "
                "float32 vectors, or scores by Blockwise"
            )
        self.first_pass = first_pass
        self.vectors = vectors.detach().float().contiguous()
        self.rounded = self.round(self.vectors)
        norms = _norms(self.vectors)
        self.norms = norms.float()
        # 0 / 0 of a zero vector is no rounding; what else is not a number leaves all open
        moved = torch.where(norms == 0, 0.0, _norms(self.vectors, self.rounded) / norms)
        self.rounding = moved.max()

    def round(self, vectors: Tensor) -> Tensor:
        """`vectors` in the type of the first pass."""
        return vectors.bfloat16() if self.first_pass == "bf16" else vectors


class Products:
    """Scores ⟨q, x⟩ [B, N] of a batch of queries and all candidates: those of bilinear decoders.

    A score is the inner product of two float32 vectors, summed in float64. Blocks are multiplied
    in float32 or bfloat16; that decides every comparison but those nearer to the edge of a target's
    tie than such a product may be off, and these are made again in float64. So ranks are exact,
    whatever the blocks, the threads, the device and the first pass.

    With q' and x' the vectors as they were multiplied, d their width and s' the product that came
    out, u = 2^-8 the unit roundoff of bfloat16 and γ = dv / (1 − dv),

        |s' − ⟨q, x⟩| <= (‖q' − q‖ + ρ ‖q'‖ + γ (1 + ρ) ‖q'‖) ‖x‖ + u |s'|,  ρ = max ‖x' − x‖ / ‖x‖.

    The first two terms are Cauchy-Schwarz for ⟨q' − q, x⟩ + ⟨q', x' − x⟩. The third is the error of
    a sum of d products in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    §3.1), with v = 2^-24, or 2^-22 where a tensor core may cut what it adds. The last is the
    rounding of a result to bfloat16. As ‖q' − q‖ <= u ‖q‖ and ρ <= u, the whole is at most about
    (2u + γ) ‖q‖ ‖x‖ + u |s'|; both are measured, for they are nearer to u / 3. In float32 q' = q,
    x' = x and nothing but the third term is left.

    Args:
        queries: [B, d], in float32 or less.
        candidates: of all entities.

    Raises:
        InputError: queries are not as wide as candidates.
    """

    def __init__(self, queries: Tensor, candidates: Candidates) -> None:
        width = candidates.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise InputError(
                f"queries have shape {tuple(queries.shape)}; expected [B, {width}], as wide as "
                "the candidates"
            )
        self.queries = queries.float().contiguous()
        self.candidates = candidates
        self.rounded = candidates.round(self.queries)

    @property
    def size(self) -> int:
        """N."""
        return len(self.candidates.vectors)

    def columns(self, block: slice) -> Tensor:
        """First-pass scores [B, n] of a block of entities."""
        vectors = self.candidates.rounded[block].t()
        with torch.autocast(vectors.device.type, enabled=False):
            if vectors.dtype == torch.bfloat16 and vectors.is_cuda:
                # without it cuBLAS may add parts of a sum in bfloat16
                return torch.mm(self.rounded, vectors, out_dtype=torch.float32)
            return self.rounded @ vectors

    def compare(self, asked: Asked, tolerance: float) -> tuple[Band, Doubt]:
        """What `count` compares first-pass scores with, and what settles those that are near."""
        queries, candidates = self.queries, self.candidates
        if int(asked.row.max()) >= len(queries):
            raise InputError(
                f"{len(queries)} queries were made of {int(asked.row.max()) + 1}; make one each"
            )
        row, target = (index.to(queries.device) for index in (asked.row, asked.target))
        own = inner_products(queries, candidates.vectors, row, target)
        band = Band.around(own, tolerance)
        norms = _norms(queries)
        room = FLUSH * (1 + norms)[row]
        # s' − u|s'| > t where s' > t + u|t| / (1 − u), and 2^-20 is for arithmetic in float32
        share = 1.01 * ROUNDOFF if self.rounded.dtype == torch.bfloat16 else 2.0**-20
        wide = Band(
            (band.low - share * band.low.abs() - room).float(),
            (band.high + share * band.high.abs() + room).float(),
        )
        factor = self._factor(norms)[row].float()
        return wide, Doubt(factor, candidates.norms, queries, candidates.vectors, band)

    def _factor(self, norms: Tensor) -> Tensor:
        """The bound's factor of ‖x‖ for each query, float64 [B]."""
        # PyTorch may be told to multiply float32 matrices in TF32 or bfloat16
        reduced = torch.get_float32_matmul_precision() != "highest"
        exact = self.rounded.dtype == torch.float32 and not reduced
        width = self.queries.shape[1] * 2.0 ** (-24 if exact else -22)
        moved, rounding = _norms(self.queries, self.rounded), self.candidates.rounding
        if reduced:
            moved = moved + 3 * ROUNDOFF * norms
        length = _norms(self.rounded)
        factor = moved + rounding * length + width / (1 - width) * (1 + rounding) * length
        # 1.01 is for the share of the last term in the others, and for their own rounding
        return 1.01 * factor + FLUSH


def count_answers(
    scores: Tensor | Blockwise | Products,
    asked: Asked,
    tolerance: float,
    block_size: int | None = None,
    allowed: Callable[[slice], Tensor] | None = None,
) -> Tensor:
    """Sum `count` over all blocks of entities.

    Args:
        scores: of a batch of B queries.
        asked: I answers to rank.
        tolerance: of a tie, see `Band.around`.
        block_size: entities at once.
        allowed: a block of entities -> bool [B, n], the candidates among them.

    Returns:
        int64 [4, I], as `count`; the last row is zero.

    Raises:
        InputError: a score is not finite, or shapes do not fit.
    """
    if not len(asked.row):
        return torch.zeros(4, 0, dtype=torch.int64)
    if isinstance(scores, Tensor):
        whole, block_size = scores, scores.shape[1]
        scores = Blockwise(block_size, lambda _: whole)
    low, high = int(asked.target.min()), int(asked.target.max())
    if low < 0 or high >= scores.size:
        raise InputError(
            f"answers {low}..{high} are to be ranked among the scores of {scores.size} entities; "
            f"expected 0..{scores.size - 1}"
        )
    size = block_size or _block_size(scores, len(asked.row))
    make = _maker(scores, size, queries=int(asked.row.max()) + 1)
    doubt = None
    if isinstance(scores, Products):
        band, doubt = scores.compare(asked, tolerance)
    else:
        band = Band.around(_target_scores(make, asked, size), tolerance)
    counts = torch.zeros(4, len(asked.row), dtype=torch.int64)
    # the block where targets were read last is at hand
    for number in sorted(range(-(-scores.size // size)), key=lambda n: n != high // size):
        block, part = make(number)
        mask = None if allowed is None else allowed(block).to(part.device)
        near = None if doubt is None else doubt.within(block)
        counts += count(part, block.start, asked, band, mask, near)
    odd = asked.row[counts[3] > 0].unique()
    if len(odd):
        raise InputError(
            f"scores of {len(odd)} of {len(asked.row.unique())} queries are not finite (NaN or "
            "infinite): the model diverged; lower the learning rate or train with "
            "runtime.precision=fp32"
        )
    return counts


def _maker(
    scores: Blockwise | Products, size: int, queries: int
) -> Callable[[int], tuple[slice, Tensor]]:
    """Number of a block of `size` entities -> the block, its scores; the last one made is kept."""

    @lru_cache(maxsize=1)
    def make(number: int) -> tuple[slice, Tensor]:
        block = slice(number * size, min((number + 1) * size, scores.size))
        part = scores.columns(block)
        # the kernel reads memory by index
        if part.shape != (queries, block.stop - block.start):
            raise InputError(
                f"scores of entities {block.start}..{block.stop - 1} have shape "
                f"{tuple(part.shape)}; expected a row for each of {queries} queries and a column "
                "for each entity"
            )
        narrow = part.dtype not in (torch.float32, torch.float64)
        return block, part.float() if narrow and isinstance(scores, Blockwise) else part

    return make


def _target_scores(make: Callable[[int], tuple[slice, Tensor]], asked: Asked, size: int) -> Tensor:
    """The targets' scores [I], read off the very blocks that are counted, in ascending order."""
    number = asked.target // size
    order, own = number.argsort(stable=True), []
    numbers, counts = number.unique(return_counts=True)
    for block, items in zip(numbers.tolist(), order.split(counts.tolist()), strict=True):
        part = make(block)[1]
        place = asked.target[items] - block * size
        own.append(part[asked.row[items].to(part.device), place.to(part.device)])
    scores = torch.cat(own)
    return torch.empty_like(scores).index_copy_(0, order.to(scores.device), scores)


def _block_size(scores: Blockwise | Products, rows: int) -> int:
    cached = isinstance(scores, Products) and not scores.queries.is_cuda
    return max(1, (CACHED if cached else LARGE) // rows)


def _norms(vectors: Tensor, less: Tensor | None = None) -> Tensor:
    """Lengths of rows, or of their differences with those of `less`, in float64."""
    parts = []
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS].double()
        if less is not None:
            part -= less[start : start + ROWS]
        parts.append(torch.linalg.vector_norm(part, dim=1))
    return torch.cat(parts)
