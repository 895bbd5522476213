"""Pooling over ranges and groups of vectors or logits without a loop over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from relgnn.config import Pooling


def range_max(states: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The maximum over states [start, end) of each range; zero where a range is empty.

    By a sparse table: level k holds the maxima over 2^k states from each place, and two of its
    entries, which may overlap, cover any range of length 2^k to 2^(k+1).

    Args:
        states: [T, d].
        start, end: int64 [N], 0 <= start, end <= T.

    Returns:
        [N, d].
    """
    length = end - start
    level = _floor_log2(length.clamp(min=1))
    table = [states]
    for k in range(int(level.max()) if len(level) else 0):
        below, half = table[-1], 2**k
        # Beyond the last whole window nothing is ever asked for.
        table.append(torch.cat([torch.maximum(below[:-half], below[half:]), below[-half:]]))
    flat, count = torch.cat(table), len(states)
    first = (level * count + start).clamp(max=len(flat) - 1)
    last = (level * count + end - 2**level).clamp(min=0)
    found = torch.maximum(flat.index_select(0, first), flat.index_select(0, last))
    return found.masked_fill((length <= 0)[:, None], 0.0)


def _floor_log2(length: Tensor) -> Tensor:
    powers = 2 ** torch.arange(1, 32, device=length.device)
    return torch.bucketize(length, powers, right=True)


def group_logsumexp(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """log Σ exp over the rows of each group, with gradient; -inf for a group without rows.

    Args:
        scores: [N, ...].
        group: int64 [N], which group each row is of.
        groups: how many there are.

    Returns:
        [groups, ...].
    """
    shape = (groups, *scores.shape[1:])
    index = group.view(-1, *[1] * (scores.dim() - 1)).expand_as(scores)
    top = scores.detach().new_full(shape, float("-inf"))
    top = top.scatter_reduce(0, index, scores.detach(), "amax")
    shifted = (scores - top.gather(0, index)).exp()
    total = scores.new_zeros(shape).index_add(0, group, shifted)
    empty = torch.isinf(top)
    return torch.where(empty, top, total.where(~empty, 1.0).log() + top)


def pool_rows(
    row_logits: np.ndarray, pair: np.ndarray, num_pairs: int, pooling: Pooling = "logsumexp"
) -> np.ndarray:
    """Logits [P, 2R] of pairs, pooled over their rows z_i.

        logsumexp   log Σ exp z_i, a smooth "at least one says so"
        mean        Σ z_i / n
        noisy_or    logit(1 − Π (1 − σ(z_i))): at least one is right, each by itself (Pearl, 1988)
        attention   Σ softmax(z)_i z_i: selective attention (Lin et al., 2016) whose query is the
                    classifier's own vector of the relation, as the classifier is linear

    Args:
        row_logits: [M, 2R].
        pair: int64 [M], each row's pair.
        num_pairs: P.
        pooling: see above.

    Returns:
        float32; nan for a pair without a row.
    """
    pooled = np.full((num_pairs, row_logits.shape[1]), np.nan, dtype=np.float32)
    if len(pair):
        order = np.argsort(pair, kind="stable")
        found, starts = np.unique(pair[order], return_index=True)
        pooled[found] = _POOLED[pooling](row_logits[order], starts)
    return pooled


def _logsumexp(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.logaddexp.reduceat(z, starts, axis=0)
    return total


def _pooled_mean(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.add.reduceat(z, starts, axis=0) / _sizes(z, starts)[:, None]
    return mean


def _noisy_or(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    # log Π (1 − σ(z)) = −Σ log(1 + e^z) = −n; the logit of 1 − e^−n is log(e^n − 1).
    n = np.add.reduceat(np.logaddexp(0.0, z.astype(np.float64)), starts, axis=0)
    # n is 0 where e^z is below what a double tells from 1; there the sum of e^z is n.
    few = _logsumexp(z.astype(np.float64), starts)
    small = n < 1e-9
    logit: np.ndarray = np.where(small, few, n + np.log(-np.expm1(-np.where(small, 1.0, n))))
    return logit


def _attention(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    total = np.repeat(_logsumexp(z, starts), _sizes(z, starts), axis=0)
    pooled: np.ndarray = np.add.reduceat(np.exp(z - total) * z, starts, axis=0)
    return pooled


def _sizes(z: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.diff(starts, append=len(z))


_POOLED: dict[Pooling, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "logsumexp": _logsumexp,
    "mean": _pooled_mean,
    "noisy_or": _noisy_or,
    "attention": _attention,
}
