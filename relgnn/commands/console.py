"""What all commands print with: tables, JSON, notes."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
STRATA = ("all", "feature", "corpus", "none", "unseen")
UNFOLDED = 10_000
"""Width of what is no screen: in a file or a pipe a row is a line, and no number is divided."""


@dataclass
class Settings:
    """What holds for the whole command line.

    Attributes:
        quiet: no progress and no notes.
        ending: takes back, as a command ends, what it changed in the process.
    """

    quiet: bool = False
    ending: ExitStack = field(default_factory=ExitStack)


SETTINGS = Settings()


def user() -> str:
    """Who gives the command, as the system knows it: by name, or by number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as anybody
        return f"uid {os.getuid()}"


def start_quietly() -> None:
    """Hand --quiet to the progress bars until the command ends; for commands that show some."""
    from relgnn.training import quiet_bars

    SETTINGS.ending.enter_context(quiet_bars(SETTINGS.quiet))


def note(text: str) -> None:
    """Say what is going on, on standard error, unless quiet."""
    if not SETTINGS.quiet:
        print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; every column but the first stands to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    print(title)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNFOLDED
    console.print(table)


def print_metrics(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print realistic metrics of several models or splits.

    Args:
        title: of the table.
        rows: name -> [stratum][side][kind] -> metrics, as in metrics.json.
    """
    found = list(dict.fromkeys(name for row in rows.values() for name in row))
    # whatever else the rows are split by, such as categories of relations, comes after the strata
    strata = [*(s for s in STRATA if s in found), *(s for s in found if s not in STRATA)]
    hits = (1, 3, 10)
    lines = []
    for name, row in rows.items():
        whole = row["all"]["both"]["realistic"]
        mrr = [row[s]["both"]["realistic"]["mrr"] if s in row else None for s in strata]
        numbers = [*mrr, *(whole[f"hits@{k}"] for k in hits)]
        lines.append([name, *("" if n is None else f"{n:.3f}" for n in numbers)])
    header = ["MRR" if s == "all" else s for s in strata] + [f"H@{k}" for k in hits]
    print_table(f"{title}: MRR over all and by stratum, hits", ["", *header], lines)
