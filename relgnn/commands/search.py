"""`relgnn search`: find good values of a configuration's keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from relgnn.commands.console import AsJson, note, print_json, print_table, start_quietly


def search(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A configuration (YAML).")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes that all trials share."),
    ] = None,
    space: Annotated[
        Path,
        typer.Option(
            metavar="SPACE",
            help="YAML: key: [values], or key: {low: …, high: …, log: true}; keys are dotted.",
        ),
    ] = ...,  # type: ignore[assignment]
    trials: Annotated[int, typer.Option(min=1, help="Trials, earlier calls' included.")] = 30,
    storage: Annotated[
        Path | None, typer.Option(help="SQLite file of the search; by default OUT/study.db.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder; by default runs/search-<configuration's name>.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search numbers and choices of any key with Optuna, by the metric that selects on valid.

    Test is never read. The same command goes on with an interrupted search, and with more --trials
    with a finished one.
    """
    start_quietly()
    from relgnn.search import read_space
    from relgnn.search import search as run_search

    folder = out or Path("runs") / f"search-{config.stem}"
    found = run_search(
        config, overrides or (), read_space(space), trials, folder, storage, note
    )  # fmt: skip
    if as_json:
        print_json({"search": str(folder), **found})
        return
    best = found["best"]
    told = {k: v for k, v in best.items() if k != "parameters"} | best["parameters"]
    rows = [[key, x if isinstance(x, str) else json.dumps(x)] for key, x in told.items()]
    print_table("Best trial", ["", ""], rows)
    print(f"{folder}/best.yaml is its configuration: relgnn run {folder}/best.yaml")
