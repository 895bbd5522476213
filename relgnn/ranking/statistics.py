"""Means over seeds and paired comparisons of two models on the same queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from relgnn.errors import InputError
from relgnn.runtime import rng

# Resamples drawn at once: memory is CHUNK x units.
CHUNK = 500
SAMPLES = 10_000
# What lies beyond each end of a 95 % interval.
TAIL = (1 - 0.95) / 2


@dataclass(frozen=True)
class Interval:
    """A mean difference with the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_std(values: Iterable[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation (n - 1) of one value a seed; nan for one seed."""
    array = np.asarray(list(values), dtype=float)
    if not len(array):
        raise InputError("there is no value to average; give one for each seed")
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else float("nan")


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    units: np.ndarray | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean of a - b with its percentile interval over seeds and test units.

    Seeds and units are crossed, since every seed answers the same queries: each resample draws
    seeds with replacement and, independently, units with replacement, the same units for all
    seeds (Owen 2007, "The pigeonhole bootstrap").

    Args:
        a, b: float [S, N], one value (a reciprocal rank) per seed and query, paired.
        units: int [N], the test triple of each query: both its sides are drawn together.
            None: every query is a unit.
        samples: resamples.
        seed: of the resampling.

    Raises:
        InputError: shapes differ or nothing is there.
    """
    total, count = _unit_sums(a, b, units)
    num_seeds, num_units = total.shape
    means = np.concatenate(
        [
            np.einsum("ks,sc,kc->k", seeds, total, drawn, optimize=True)
            / (seeds.sum(1) * (drawn @ count))
            for seeds, drawn in _resamples(num_seeds, num_units, samples, seed)
        ]
    )
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return Interval(float(total.sum() / (len(total) * count.sum())), float(low), float(high))


def group_gaps(
    values: np.ndarray,
    inside: np.ndarray,
    units: np.ndarray,
) -> list[Interval]:
    """Return mean inside a group - mean outside, of each measure, with percentile intervals.

    Units are drawn with replacement, and all that belongs to one with it; a resample without
    either side is left out.

    Args:
        values: float [M, N], M measures of each of N queries.
        inside: bool [N], whether a query is the group's.
        units: int [N], whom a query is about: queries about the same one are not independent.

    Raises:
        InputError: shapes differ, or one side has no query.
    """
    if values.ndim != 2 or not values.shape[1:] == inside.shape == units.shape:
        raise InputError(
            f"values have shape {values.shape}, inside {inside.shape} and units {units.shape}; "
            "expected [measures, queries], [queries] and [queries]"
        )
    if inside.all() or not inside.any():
        raise InputError("all queries are on one side of the group; a gap needs both")
    unit, count = np.unique(units, return_inverse=True)[1], len(np.unique(units))
    masks = np.stack([inside, ~inside]).astype(float)

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.bincount(unit, weights=weights, minlength=count)

    size = np.stack([sums(mask) for mask in masks])  # [2, C]
    total = np.stack([[sums(row * mask) for row in values] for mask in masks])  # [2, M, C]
    gaps = []
    for _, drawn in _resamples(1, count, SAMPLES, 0):
        often = drawn @ size.T  # [K, 2]
        kept = (often > 0).all(1)
        means = (
            np.einsum("kc,smc->ksm", drawn[kept], total, optimize=True) / often[kept][:, :, None]
        )
        gaps.append(means[:, 0] - means[:, 1])
    low, high = np.quantile(np.concatenate(gaps), [TAIL, 1 - TAIL], axis=0)
    mean = values[:, inside].mean(1) - values[:, ~inside].mean(1)
    return [Interval(*row) for row in np.stack([mean, low, high], 1).tolist()]


def _unit_sums(
    a: np.ndarray, b: np.ndarray, units: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed difference [S, C] and the number of queries [C] of each unit."""
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise InputError(
            f"paired values have shapes {a.shape} and {b.shape}; expected the same [seeds, queries]"
        )
    if units is None:
        return np.asarray(a - b, dtype=float), np.ones(a.shape[1])
    if units.shape != a.shape[1:]:
        raise InputError(f"units have shape {units.shape}; expected one per query, {a.shape[1:]}")
    unit, count = np.unique(units, return_inverse=True, return_counts=True)[1:]
    total = np.stack([np.bincount(unit, weights=row, minlength=len(count)) for row in a - b])
    return total, count.astype(float)


def _resamples(
    seeds: int, units: int, samples: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield how often each seed [K, S] and each unit [K, C] is drawn, a chunk at a time."""
    generator = rng("paired_bootstrap", seed)
    for size in _chunks(samples):
        drawn = generator.integers(0, units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        often = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        which = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        yield which.astype(float), often.astype(float)


def _chunks(samples: int) -> Iterator[int]:
    for start in range(0, samples, CHUNK):
        yield min(CHUNK, samples - start)
