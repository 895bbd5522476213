"""`relgnn attack`: search for rewrites that mislead a relation extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relgnn.commands.console import AsJson, note, print_json, print_table, start_quietly
from relgnn.commands.train import Split


def attack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of relation extraction.")],
    split: Annotated[Split, typer.Option(help="What to rewrite.")] = Split.test,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Sentences at most; by default attack.sentences.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the rewrites that mislead, before and after, to this JSONL file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for rewrites of a run's sentences that change what it says of them.

    Only sentences whose relation it says right are rewritten: by synonyms, other names of the same
    type, and clauses that say nothing. What is told is the share that some rewrite misleads.
    """
    start_quietly()
    from relgnn.text.relation_run import attack_run

    report = attack_run(run, split.value, limit, out)
    if out is not None:
        note(f"the rewrites are in {out}")
    if as_json:
        print_json(report)
        return
    rows = [[name, f"{value:.3f}"] for name, value in report.items() if name != "attacked"]
    print_table(f"{run}, {report['attacked']:.0f} sentences rewritten", ["", "share"], rows)
