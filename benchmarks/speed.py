"""Speed and memory beside the peers', from the same run.

    python -m benchmarks.speed [layer|epoch|loss|rank|encode|tuning|scale ...] [--repeats N]
        [--threads N] [--json] [--record]

Every side runs once to warm up and then in turns with the others; a time is the median. Memory is
what one call adds to the resident set of a fresh process. `--record` adds the figures to
experiments/results/speed.jsonl.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import scale
from benchmarks.measure import Bench, Limits, Measured, Pair, apart, machine_limits, measure
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import at_end, provenance
from experiments.results import append, measured_line

BENCHES = ("layer", "epoch", "loss", "rank", "encode", "tuning")
PARTS = (*BENCHES, "scale")

Row = dict[str, Any]


def rows_of(bench: Bench, found: dict[str, Measured], limits: Limits) -> list[Row]:
    """One row a pair: times, ratio, limit and memory; None where a side could not run."""
    return [_row(bench, pair, found, limits) for pair in bench.pairs]


def _row(bench: Bench, pair: Pair, found: dict[str, Measured], limits: Limits) -> Row:
    ours, peer = found[pair.ours], found[pair.peer]
    limit = pair.limit
    if isinstance(limit, str):
        limit_s = found[limit].seconds
    else:
        limit_s = None if limit is None else limit(limits)
    ratio = None
    if ours.seconds is not None and peer.seconds is not None:
        ratio = peer.seconds / ours.seconds
    own_failure = f"ours: {ours.failure}" if ours.failure else None
    name = next((v for key, v in bench.versions.items() if pair.peer.startswith(key)), "")
    return {
        "row": pair.row,
        "ours": pair.ours,
        "peer": f"{pair.peer} ({name})" if name else pair.peer,
        "ours_s": ours.seconds,
        "peer_s": peer.seconds,
        "ratio": ratio,
        "limit_s": limit_s,
        "ours_mb": ours.memory_mb,
        "peer_mb": peer.memory_mb,
        "failure": "; ".join(filter(None, (peer.failure, own_failure))) or None,
    }


def scale_rows(scales: Sequence[scale.Scale]) -> list[Row]:
    """One row a size, with the exponents fitted over the large ones on the last."""
    rows: list[Row] = []
    for one in scales:
        rows.append(
            {
                "row": f"scale_{one.triples}",
                "ours": f"{one.triples:,} triples, {one.nodes:,} nodes",
                "peer": None,
                "ours_s": one.forward_s,
                "step_s": one.step_s,
                "build_s": one.build_s,
                "ours_mb": one.memory_mb,
            }
        )
    if sum(one.triples >= scale.FIT_FROM for one in scales) > 1:
        for name in ("forward_s", "step_s", "build_s", "memory_mb"):
            rows[-1][f"exponent_{name}"] = scale.exponent(list(scales), name)
    return rows


def record(
    part: str,
    rows: Sequence[Row],
    settings: dict[str, Any],
    began: Mapping[str, Any],
    command: str,
) -> None:
    """Append rows to experiments/results/speed.jsonl.

    Args:
        part: what was measured.
        rows: of it.
        settings: what they depend on besides.
        began: `provenance` before anything was measured.
        command: that measures it again.
    """
    code = at_end(began)
    words = ("row", "ours", "peer", "failure")
    lines = [
        measured_line(
            "speed",
            row["row"],
            {k: v for k, v in row.items() if k not in words and v is not None},
            [part, settings],
            command,
            code,
            row["ours_s"] or 0.0,
            row["ours_mb"] or 0.0,
            peer=row["peer"] if not row.get("failure") else f"{row['peer']}: {row['failure']}",
        )
        for row in rows
    ]
    append("speed", lines)


def table(part: str, rows: Sequence[Row]) -> Table:
    """What a person reads."""
    shown = Table(title=part, title_justify="left")
    columns: tuple[str, ...]
    titles: tuple[str, ...]
    if part == "scale":
        columns = ("ours", "build_s", "ours_s", "step_s", "ours_mb")
        titles = ("graph", "build s", "forward s", "step s", "peak MB")
    else:
        columns = ("ours", "peer", "ours_s", "peer_s", "ratio", "limit_s", "ours_mb", "peer_mb")
        titles = ("ours", "peer", "ours s", "peer s", "ratio", "limit s", "ours MB", "peer MB")
    for title in titles:
        shown.add_column(title, justify="left" if title in ("ours", "peer", "graph") else "right")
    for row in rows:
        shown.add_row(*(_cell(column, row) for column in columns))
    return shown


def _cell(column: str, row: Row) -> str:
    value = row.get(column)
    if value is None:
        return row.get("failure") or "–" if column == "ratio" else "–"
    if isinstance(value, str):
        return value
    if column.endswith("_mb"):
        return f"{value:,.0f}"
    return f"{value:.1f}×" if column == "ratio" else f"{value:.3f}"


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.speed", __doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all")
    parser.add_argument("--repeats", type=int, help="of each side; each bench's own, 5 at least")
    parser.add_argument("--threads", type=int, default=2, help="2")
    parser.add_argument("--sides", nargs="+", help="only these, and pairs of them")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(scale.SIZES))
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    torch.set_num_threads(given.threads)
    # no peer may look for a model in the network
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    told = told_options(parser, given, "repeats", "threads", "sides", "sizes")
    report = {part: _run(part, given, told) for part in given.parts or PARTS}
    if given.json:
        print(json.dumps(report, indent=2))
    return 0


def _run(part: str, given: argparse.Namespace, told: str) -> dict[str, Any]:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    began, limits = provenance(), machine_limits()
    if part == "scale":
        scales = []
        for size in given.sizes:
            scales.append(apart(scale.measure_size, size))
            say(str(scales[-1]))
        rows, notes = scale_rows(scales), []
        settings: dict[str, Any] = {"sizes": given.sizes}
    else:
        bench: Bench = importlib.import_module(f"benchmarks.{part}").BENCH
        if given.sides:
            bench = bench.only(given.sides)
        repeats = given.repeats or bench.repeats
        found, agreed = measure(bench, repeats, say)
        limits = limits.best(machine_limits())
        rows, notes = rows_of(bench, found, limits), [*bench.notes, *agreed]
        settings = {"repeats": repeats}
    settings["threads"] = given.threads
    if given.record:
        record(part, rows, settings, began, f"python -m benchmarks.speed {part}{told}")
    if not given.json:
        console = Console()
        console.print(table(part, rows))
        # of sides alone there is no row: what each took was said as it ran
        for name, value in (rows[-1] if rows else {}).items():
            if name.startswith("exponent"):
                console.print(f"{name}: {value:.3f} from {scale.FIT_FROM:,} triples up")
        for note in notes:
            console.print(note)
        console.print(
            f"{given.threads} threads; copy {limits.copy / 1e9:.0f} GB/s, "
            f"matrix product {limits.matmul / 1e9:.0f} GFLOP/s"
        )
    return {"rows": rows, "notes": notes, "copy": limits.copy, "matmul": limits.matmul}


if __name__ == "__main__":
    sys.exit(main())
