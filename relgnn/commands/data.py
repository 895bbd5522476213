"""`relgnn data`: named data sets and a user's own folder."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from relgnn.commands.console import AsJson, print_json, print_table
from relgnn.errors import InputError

app = typer.Typer(
    help="Named data sets, and checks of your own.",
    epilog="Example: relgnn data check my_folder",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog="Example: relgnn data list")
def list_(as_json: AsJson = False) -> None:
    """List the named data sets, their sizes and where they were found."""
    from relgnn.data import list_datasets

    found = list_datasets()
    if as_json:
        keys = ("name", "train", "valid", "test", "entities", "relations", "description")
        print_json(
            [
                {key: getattr(d, key) for key in keys} | {"path": d.path and str(d.path)}
                for d in found
            ]
        )
        return
    rows = [
        [
            d.name,
            *(f"{n:,}" for n in (d.train, d.valid, d.test, d.entities, d.relations)),
            "yes" if d.path else "no",
        ]
        for d in found
    ]
    header = ["name", "train", "valid", "test", "entities", "relations", "here"]
    print_table("Named data sets", header, rows)
    print("atlas comes with relgnn. `relgnn data show NAME` tells more of one.")


@app.command(epilog="Example: relgnn data show codex_s")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A named data set, or a folder.")],
    as_json: AsJson = False,
) -> None:
    """Show the facts of a data set: sizes, texts, strata, and what its test set gives away."""
    from relgnn.data import load
    from relgnn.data.leakage import find_leakage

    graph = load(name)
    facts = _facts(graph) | {"leakage": find_leakage(graph).to_dict()}
    if as_json:
        print_json(facts)
        return
    leakage = facts.pop("leakage")
    overlaps = leakage.pop("overlapping_relations")
    print_table(graph.name, ["fact", ""], [[k, _shown(v)] for k, v in facts.items()])
    print_table(
        "What test gives away (test triples)",
        ["leak", ""],
        [[k.replace("_", " "), _shown(v)] for k, v in leakage.items()],
    )
    if overlaps:
        print_table(
            "Relations whose pairs mostly coincide",
            ["first", "second", "share"],
            [
                [o["first"], o["second"] + (" turned round" * o["inverse"]), f"{o['share']:.2f}"]
                for o in overlaps
            ],
        )


@app.command(epilog="Example: relgnn data check my_folder")
def check(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder with train.tsv, … or train.jsonl, …")
    ],
    as_json: AsJson = False,
) -> None:
    """Check your own folder: lists everything that is wrong with it, each with file and line.

    Exit status 0: it can be loaded (warnings may be listed); 2: it cannot.
    """
    from relgnn.data import check_folder
    from relgnn.data.relations import check_relations, is_relations

    report = check_relations(path) if is_relations(path) else check_folder(path)
    if as_json:
        problems = [asdict(problem) for problem in report.problems]
        print_json(
            {"path": str(path), "ok": report.ok, "sizes": report.sizes, "problems": problems}
        )
    else:
        for problem in report.warnings:
            print(problem)
    errors = report.errors
    if errors:
        listed = f"; {len(errors) - 1} more are listed" if len(errors) > 1 else ""
        if listed and not as_json:
            for problem in errors:
                print(problem)
        raise InputError(f"{path}/{errors[0].place}: {errors[0].message}{listed}")
    if not as_json:
        sizes = ", ".join(f"{size:,} {name}" for name, size in report.sizes.items())
        print(f"{path}: can be loaded ({sizes})")


@app.command(epilog="Example: relgnn data get umls --out data")
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set's name.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where data sets are kept; by default $RELGNN_DATA, else ./data."),
    ] = None,
) -> None:
    """Fetch a data set from its public home, at a pinned revision, checked by checksums."""
    from relgnn.data import fetch

    folder = out or Path(os.environ.get("RELGNN_DATA") or "data")
    print(fetch.get(name, folder))


def _facts(graph: Any) -> dict[str, Any]:
    from relgnn.data import STRATA

    facts: dict[str, Any] = {
        "name": graph.name,
        "train": len(graph.train),
        "valid": len(graph.valid),
        "test": len(graph.test),
        "entities": graph.num_entities,
        "relations": graph.num_relations,
        "texts": len(graph.texts),
        "sentences": len(graph.sentences()),
        "dated": graph.times is not None,
        "checked negatives": {split: len(rows) for split, rows in graph.negatives.items()},
        "fractions": sorted(graph.fractions) if graph.fractions else [],
    }
    if graph.strata is not None:
        facts["strata of test"] = {
            name: int((graph.strata["test"] == code).sum()) for code, name in enumerate(STRATA)
        }
    return facts | {"checksum": graph.checksum}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)
