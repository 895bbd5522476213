"""How long a round of the loop takes, stage by stage, and how much memory.

    python -m benchmarks.rounds [--fraction F] [--json] [--record] [KEY=VALUE ...]

Runs the demo without its controls, alone on the machine if the figures are to mean anything, and
tells of each round the seconds of its stages and the most memory in use until its end. Sentences
are linked and encoded once before round 1; with a warm cache (a second call) that takes seconds.
`--record` adds the rounds to experiments/results/speed.jsonl.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed import Row, record
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import provenance
from experiments.speed import ROUNDS
from relgnn.loop.demo import run_demo
from relgnn.training.stages import by_stage

ALONE = "loop.controls=[]"


def rows_of(laps: Sequence[dict[str, Any]]) -> list[Row]:
    """A row a round, with its seconds and those of its stages.

    Args:
        laps: of a run, see `Stages`; what belongs to no round is left out.
    """
    rows: list[Row] = []
    for number in sorted({lap["round"] for lap in laps} - {0}):
        stages = by_stage([lap for lap in laps if lap["round"] == number])
        seconds = {f"{one['stage'].replace(' ', '_')}_s": one["seconds"] for one in stages}
        rows.append({
            "row": f"round_{number}", "ours": f"round {number}", "peer": None,
            "ours_s": sum(seconds.values()),
            "ours_mb": max(one["peak_memory_mb"] for one in stages), **seconds,
        })  # fmt: skip
    return rows


def table(rows: Sequence[Row]) -> Table:
    """What a person reads."""
    shown = Table()
    for title in ("round", *ROUNDS.values()):
        shown.add_column(title, justify="right", overflow="fold")
    for row in rows:
        shown.add_row(row["row"], *(f"{row.get(name, 0.0):,.1f}" for name in ROUNDS))
    return shown


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.rounds", __doc__)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of the configuration")
    parser.add_argument("--fraction", type=float, default=0.1, help="of the triples; 0.1")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    began, changes = provenance(), [ALONE, *given.changes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        metrics = run_demo(path, given.fraction, quiet=True, overrides=changes)
    rows = rows_of(metrics["stages"])
    if given.record:
        settings = {"fraction": given.fraction, "changes": changes}
        words = "".join(f" {shlex.quote(one)}" for one in given.changes)
        command = f"python -m benchmarks.rounds{told_options(parser, given, 'fraction')}{words}"
        record("rounds", rows, settings, began, command)
    print(json.dumps(rows, indent=2)) if given.json else Console().print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
