"""Mean reciprocal rank and hits from ranks, by stratum and side; the file of ranks."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from relgnn.errors import InputError, MachineError
from relgnn.ranking.ranks import SIDES, Ranks, concatenate

KINDS = ("realistic", "optimistic", "pessimistic")
HITS = (1, 3, 10)
COLUMNS = ("head", "relation", "tail", "side", "rank_optimistic", "rank_pessimistic", "candidates")

Metrics = dict[str, float]


class _Tsv(csv.Dialect):
    """Plain tab-separated values: ids come from tab-separated files, so nothing needs quotes."""

    delimiter = "\t"
    quoting = csv.QUOTE_NONE
    quotechar = None
    lineterminator = "\n"


def rank_metrics(ranks: Ranks, kind: str = "realistic") -> Metrics:
    """Return mrr, hits@1, hits@3, hits@10 (each 0 to 1) and the number of queries.

    Raises:
        InputError: there is no query, or `kind` is unknown.
    """
    if not len(ranks):
        raise InputError("there is no rank to average; evaluate at least one triple")
    rank = ranks.of_kind(kind)
    metrics: Metrics = {"mrr": float(np.mean(1 / rank))}
    metrics |= {f"hits@{k}": float(np.mean(rank <= k)) for k in HITS}
    return metrics | {"queries": len(ranks)}


def both_sides(ranks: Mapping[str, Ranks]) -> Metrics:
    """Return the `rank_metrics` of both sides together.

    Args:
        ranks: "head" and "tail" -> ranks.
    """
    return rank_metrics(concatenate(list(ranks.values())))


def chance_mrr(ranks: Ranks) -> float:
    """Return the MRR to expect of ranks that are drawn evenly from 1 to each query's candidates n.

        E[1 / rank] = H_n / n,  H_n = Σ_{k=1..n} 1 / k,  averaged over the queries

    Raises:
        InputError: there is no query.
    """
    if not len(ranks):
        raise InputError("there is no rank to average; evaluate at least one triple")
    harmonic = np.cumsum(1 / np.arange(1, ranks.candidates.max() + 1))
    return float(np.mean(harmonic[ranks.candidates - 1] / ranks.candidates))


def metrics_by_stratum(
    ranks: Mapping[str, Ranks], strata: Mapping[str, np.ndarray] | None = None
) -> dict[str, dict[str, dict[str, Metrics]]]:
    """Return one split of metrics.json: [stratum][both|head|tail][kind] -> metrics.

    Args:
        ranks: "head" and "tail" -> ranks of the same T triples.
        strata: name (feature, corpus, none, unseen, ...) -> bool [T]; "all" is always added.

    Returns:
        The nested dictionary; a stratum without any triple is left out.

    Raises:
        InputError: a mask is not bool [T].
    """
    total = len(ranks[SIDES[0]])
    masks = {"all": np.ones(total, dtype=bool), **(strata or {})}
    result = {}
    for name, mask in masks.items():
        if mask.shape != (total,) or mask.dtype != bool:
            raise InputError(
                f"stratum {name!r} is {mask.dtype} {mask.shape}; expected one bool for each of the "
                f"{total} ranked triples"
            )
        if not mask.any():
            continue
        part = {side: ranks[side].subset(mask) for side in SIDES}
        groups = {"both": concatenate(list(part.values())), **part}
        result[name] = {
            group: {kind: rank_metrics(one, kind) for kind in KINDS}
            for group, one in groups.items()
        }
    return result


def write_ranks(
    path: Path,
    ranks: Mapping[str, Ranks],
    triples: np.ndarray,
    entities: Sequence[str],
    relations: Sequence[str],
) -> None:
    """Write one line per query (DESIGN's "Ranks" file), whole or not at all.

    Args:
        path: the TSV file to write.
        ranks: "head" and "tail" -> ranks of `triples`.
        triples: int64 [T, 3].
        entities: id of each entity, by number.
        relations: id of each relation, by number.

    Raises:
        MachineError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, _Tsv)
            writer.writerow(COLUMNS)
            for row, (head, relation, tail) in enumerate(triples):
                ids = entities[head], relations[relation], entities[tail]
                for side in SIDES:
                    one = ranks[side]
                    writer.writerow(
                        (*ids, side, one.optimistic[row], one.pessimistic[row], one.candidates[row])
                    )
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MachineError(
            f"ranks cannot be written to {path} ({error.strerror}); free space there or give "
            "another --ranks FILE"
        ) from error


def read_ranks(path: Path) -> dict[str, tuple[list[tuple[str, str, str]], Ranks]]:
    """Read a file of ranks.

    Returns:
        "head" and "tail" -> (ids of head, relation and tail of each query; their ranks).

    Raises:
        InputError: the file is missing or a line is malformed.
    """
    triples: dict[str, list[tuple[str, str, str]]] = {side: [] for side in SIDES}
    numbers: dict[str, list[list[int]]] = {side: [] for side in SIDES}
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.reader(handle, _Tsv)
            if tuple(next(reader, ())) != COLUMNS:
                raise InputError(f"{path}:1: expected the header {' '.join(COLUMNS)}")
            for line, row in enumerate(reader, start=2):
                try:
                    head, relation, tail, side, *counts = row
                    low, high, candidates = map(int, counts)
                    numbers[side].append([low, high, candidates])
                except (ValueError, KeyError) as error:
                    raise InputError(
                        f"{path}:{line}: {row!r} is no line of ranks; expected {' '.join(COLUMNS)}"
                    ) from error
                triples[side].append((head, relation, tail))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"ranks cannot be read from {path} ({error}); write them with relgnn evaluate RUN "
            "--ranks FILE"
        ) from error
    columns = {
        side: np.array(rows, dtype=np.int64).reshape(-1, 3) for side, rows in numbers.items()
    }
    return {side: (triples[side], Ranks(*columns[side].T)) for side in SIDES}
