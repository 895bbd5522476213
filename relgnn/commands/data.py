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
    leakage, checksum = facts.pop("leakage"), facts.pop("checksum")
    overlaps = leakage.pop("overlapping_relations")
    print_table(graph.name, ["fact", ""], [[k, _shown(v)] for k, v in facts.items()])
    print(f"checksum {checksum}")  # as wide as a screen: a cell would break it
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
            {
                "path": str(path),
                "ok": report.ok,
                "sizes": report.sizes,
                "problems": problems,
                **({"labels": report.labels} if report.labels else {}),
            }  # fmt: skip
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
        if report.labels:
            parts = list(next(iter(report.labels.values())))
            rows = [[label, *(f"{n[x]:,}" for x in parts)] for label, n in report.labels.items()]
            print_table("Sentences of each relation", ["", *parts], rows)


@app.command(epilog="Example: relgnn data get umls --out data")
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set's name.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where data sets are kept; by default $RELGNN_DATA, else ./data."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a data set from its public home, at a pinned revision, checked by checksums."""
    from relgnn.data import fetch

    folder = out or Path(os.environ.get("RELGNN_DATA") or "data")
    path = fetch.get(name, folder)
    if as_json:
        print_json({"path": str(path)})
    else:
        print(path)


@app.command(
    epilog="Example: relgnn data prepare notes.csv --out my_folder --valid 0.1 --labels 10"
)
def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A file, or a folder with train, valid and test: JSON lines with text (or "
            "tokens), head, tail and relation, or with tokens, entities and relations, or DyGIE "
            "documents; a table with columns text, head, tail and relation; or a plain text.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder that is made.")],
    valid: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share that selects, where SOURCE has no such part."),
    ] = 0.1,
    test: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share that tests, where SOURCE has no such part.")
    ] = 0.1,
    stop_words: Annotated[
        Path | None, typer.Option(help="A file of words to drop, one a line; never in a mention.")
    ] = None,
    negatives: Annotated[
        float,
        typer.Option(
            min=0, help="Pairs of fitting types without a relation (NA) for each with one."
        ),
    ] = 0.0,
    symmetric: Annotated[
        list[str] | None,
        typer.Option(help="A label that holds both ways, so that neither way is a negative."),
    ] = None,
    labels: Annotated[
        list[int] | None,
        typer.Option(min=1, max=99, help="Also draw subsets with so many percent of the labels."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Turn marked or plain text into a folder that `relgnn run` reads.

    Letters are composed, unseen characters and double spaces dropped, and texts cut to the
    sentences of their mentions. Splits keep the shares of the relations and never divide a
    document. A plain text becomes texts.jsonl, one sentence a line.
    """
    from relgnn.data.prepare import Preparation, prepare
    from relgnn.data.writing import whole_folder

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; give another --out, or delete it")
    words = _words(stop_words) if stop_words is not None else frozenset()
    how = Preparation(
        valid, test, words, negatives, frozenset(symmetric or ()), tuple(labels or ()), seed=seed
    )
    files = prepare(source, how)
    with whole_folder(out) as folder:
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
    sizes = {
        name.removesuffix(".jsonl"): content.count("\n")
        for name, content in files.items()
        if name.endswith(".jsonl")
    }
    if as_json:
        print_json({"path": str(out), "sentences": sizes})
    else:
        print(f"{out}: {', '.join(f'{size:,} {name}' for name, size in sizes.items())}")


@app.command("import", epilog="Example: relgnn data import WN18RR --out mygraph")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="A data folder of PyKEEN (train.txt, …; or training/numeric_triples.tsv.gz, …) or "
            "SimKGC (train.txt.json, …, entities.json).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder that is made.")],
    as_json: AsJson = False,
) -> None:
    """Turn a data folder of PyKEEN or SimKGC into one that `relgnn run` reads.

    Ids, names, descriptions and the order of all lines stay. No pickle is opened.
    """
    from relgnn.data.importing import import_folder

    library, report = import_folder(source, out)
    warnings = [str(problem) for problem in report.warnings]
    if as_json:
        told = {"path": str(out), "from": library, "sizes": report.sizes, "warnings": warnings}
        print_json(told)
        return
    for warning in warnings:
        print(warning)
    sizes = ", ".join(f"{size:,} {name}" for name, size in report.sizes.items() if size)
    print(f"{out}: from {library}, can be loaded ({sizes})")


def _words(path: Path) -> frozenset[str]:
    from relgnn.data.tables import Problems, raise_first, read_text

    if not path.is_file():
        raise InputError(f"{path}: no such file; give one with a stop word a line")
    problems = Problems()
    words = read_text(path, problems).lower().split()
    raise_first(problems.all(), path.parent)
    return frozenset(words)


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
