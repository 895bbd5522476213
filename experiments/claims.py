"""Paired intervals of what is claimed, from the ranks kept in experiments/results/ranks.

    python -m experiments.claims

writes experiments/results/claims.json, which the tables quote, and the strata beside the ranks; it
needs the data's strata.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experiments.command import tells_errors
from experiments.current import rendered
from experiments.jobs import PLAIN
from experiments.results import (
    RESULTS,
    load_ranks,
    ranks_path,
    read_lines,
    save_strata,
    strata_path,
    tables,
)
from relgnn.data import STRATA, load
from relgnn.errors import InputError
from relgnn.ranking.statistics import mean_std, paired_bootstrap
from relgnn.ranking.strata import stratum_masks
from relgnn.training import load_json, save_json

FILE = "claims.json"
LOOP = "loop_"
METRIC = {"all": "mrr", **{name: f"mrr_{name}" for name in STRATA}}


@dataclass(frozen=True)
class Claim:
    """One paired comparison on the test triples of a stratum.

    Attributes:
        table, config, fraction: where from.
        row, against: rows of that configuration; the claim is row - against in MRR.
        best: whether `against` is the best row that neither reads at test time nor is the oracle.
        stratum: "all", "feature", "corpus" or "none".
        mean, low, high: of the difference, 95 %.
        seeds: which.
        triples: test triples of the stratum.
    """

    table: str
    config: str
    fraction: float
    row: str
    against: str
    best: bool
    stratum: str
    mean: float
    low: float
    high: float
    seeds: list[int]
    triples: int


def rivals(rows: Sequence[str]) -> list[str]:
    """Rows that the loop must beat: all but itself, the oracle, and those that read at test."""
    return [row for row in rows if row not in ("loop", "oracle") and not row.endswith("+read")]


def best_rival(ranks: Mapping[int, Mapping[str, np.ndarray]]) -> str:
    """The rival with the highest MRR on average over seeds.

    Args:
        ranks: seed -> row -> realistic ranks [sides, T].

    Raises:
        InputError: the seeds share no rival.
    """
    shared = set.intersection(*(set(rows) for rows in ranks.values()))
    names = sorted(rivals(sorted(shared)))
    if not names:
        raise InputError("no row to compare the loop with; run all rows with every seed")
    return max(names, key=lambda n: mean_std((1 / r[n]).mean() for r in ranks.values())[0])


def compare(
    ranks: Mapping[int, Mapping[str, np.ndarray]], row: str, against: str, mask: np.ndarray
) -> tuple[float, float, float]:
    """Mean difference in MRR with its 95 % interval over seeds and test triples.

    Args:
        ranks: seed -> row -> realistic ranks [sides, T].
        row, against: what is compared.
        mask: bool [T], which test triples.
    """
    a, b = (
        np.stack([(1 / rows[name][:, mask]).ravel() for rows in ranks.values()])
        for name in (row, against)
    )
    sides = next(iter(ranks.values()))[row].shape[0]
    found = paired_bootstrap(a, b, np.tile(np.arange(int(mask.sum())), sides))
    return found.mean, found.low, found.high


def table_claims(table: str, masks: Mapping[str, np.ndarray], root: Path = RESULTS) -> list[Claim]:
    """Claims of a loop table: each configuration's loop against its best rival and round0.

    Args:
        table: "loop_<data set>".
        masks: stratum -> bool [T].
        root: folder of results.
    """
    lines = rendered(read_lines(table, root))
    found = []
    seeds: dict[tuple[str, float], set[int]] = {}
    for line in lines:
        family, _, _ = line.row.rpartition("/")
        seeds.setdefault((family or PLAIN, line.fraction), set()).add(line.seed)
    for (config, fraction), which in sorted(seeds.items()):
        ranks = {
            seed: load_ranks(ranks_path(table, config, fraction, seed, root))
            for seed in sorted(which)
        }
        best = best_rival(ranks)
        for against in dict.fromkeys((best, "round0")):
            for stratum, mask in masks.items():
                interval = compare(ranks, "loop", against, mask)
                found.append(
                    Claim(table, config, fraction, "loop", against, against == best, stratum,
                          *interval, sorted(which), int(mask.sum()))
                )  # fmt: skip
    return found


def read_claims(root: Path = RESULTS) -> list[Claim]:
    """The claims on file; none where there is no file."""
    path = root / FILE
    return [Claim(**one) for one in load_json(path)] if path.exists() else []


def stale(claims: Sequence[Claim], root: Path = RESULTS) -> list[str]:
    """Claims that do not follow from the lines on file, as sentences."""
    wrong = []
    for claim in claims:
        prefix = "" if claim.config == PLAIN else f"{claim.config}/"
        means = []
        for row in (claim.row, claim.against):
            values = {
                line.seed: line.metrics[METRIC[claim.stratum]]
                for line in rendered(read_lines(claim.table, root))
                if (line.row, line.fraction) == (prefix + row, claim.fraction)
            }
            means.append(mean_std(values.values())[0] if sorted(values) == claim.seeds else np.nan)
        # ranks are kept as float32, which holds every half exactly
        if not abs(means[0] - means[1] - claim.mean) < 1e-6:
            wrong.append(
                f"{claim.table}: {prefix}{claim.row} minus {claim.against} on {claim.stratum} is "
                f"{means[0] - means[1]:+.4f} in the results and {claim.mean:+.4f} in {FILE}; run "
                "python -m experiments.claims"
            )
    return wrong


@tells_errors
def main() -> int:
    """The command line."""
    found = []
    for table in tables():
        if table.startswith(LOOP):
            graph = load(table.removeprefix(LOOP))
            masks = {"all": np.ones(len(graph.test), dtype=bool), **stratum_masks(graph, "test")}
            # who is unseen depends on the fraction, which this graph does not know
            masks = {name: mask for name, mask in masks.items() if name in METRIC}
            save_strata(masks, strata_path(table))
            found += table_claims(table, masks)
    save_json(RESULTS / FILE, [asdict(claim) for claim in found])
    for claim in found:
        print(
            f"{claim.table} {claim.config} {100 * claim.fraction:g} % {claim.stratum:8}"
            f"{claim.row} - {claim.against:13}"
            f"{claim.mean:+.4f} [{claim.low:+.4f}, {claim.high:+.4f}]"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
