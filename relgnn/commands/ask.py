"""`relgnn score`, `predict` and `extract`: use what was trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relgnn.commands.console import AsJson, note, print_json, start_quietly
from relgnn.commands.label import is_relation_run, label, require_loop
from relgnn.commands.rules import is_rules_run, predict_by_rules
from relgnn.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from relgnn.data import KnowledgeGraph
    from relgnn.loop.opened import Answer
    from relgnn.loop.textmodel import Extraction

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
COLUMNS = ("head", "relation", "tail")
LABELS = 3
"""Shown of a pair of mentions, where nothing else is said."""


def score(
    run: RunFolder,
    triples: Annotated[
        Path,
        typer.Argument(
            metavar="TRIPLES", help="Head, relation, tail, one triple a line, separated by tabs."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the TSV here, not to standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give each triple a score and a calibrated probability.

    Entities and relations are ids or exact names. The score is log P(tail | head, relation) +
    log P(head | relation, tail); the probability says how likely the triple is true when it
    stands against a random one of its kind, and is empty for a run without valid triples.
    """
    start_quietly()
    from relgnn.loop.asked import score_rows
    from relgnn.loop.opened import open_run
    from relgnn.training import require_file_name, save_text

    if out is not None:
        require_file_name(out)
    written = read_triples(triples)
    opened = open_run(run)
    scores = opened.score(resolve(opened.graph, triples, written))
    results = score_rows(scores, [cells for _, cells in written])
    if out is not None:
        save_text(out, _as_tsv(results))
        note(f"{len(results)} triples scored, written to {out}")
    if as_json:
        print_json(results)
    elif out is None:
        sys.stdout.write(_as_tsv(results))


def predict(
    run: RunFolder,
    relation: Annotated[str, typer.Option(help="Id or exact name.")],
    head: Annotated[str | None, typer.Option(help="Id or exact name; asks for tails.")] = None,
    tail: Annotated[str | None, typer.Option(help="Id or exact name; asks for heads.")] = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many answers.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Answer an open query, each answer with probability and why."""
    if (head is None) == (tail is None):
        raise InputError("give exactly one of --head and --tail; the other one is asked for")
    start_quietly()
    if is_rules_run(run):
        predict_by_rules(run, relation, head, tail, k, as_json)
        return
    from relgnn.config import AnyScoreConfig, config_of_run
    from relgnn.loop.asked import written_question
    from relgnn.loop.opened import open_run

    if isinstance(config_of_run(run), AnyScoreConfig):
        _predict_by_scores(run, relation, head, tail, k, as_json)
        return
    opened = open_run(run)
    [answers] = opened.predict_all([written_question(opened.graph, relation, head, tail, k)])
    if as_json:
        print_json([asdict(answer) for answer in answers])
        return
    for place, answer in enumerate(answers, 1):
        print(_answer(place, answer))


def _predict_by_scores(
    run: Path, relation: str, head: str | None, tail: str | None, k: int, as_json: bool
) -> None:
    """Print the likeliest answers of a bi-encoder, an ensemble or a re-ranker."""
    from relgnn.loop.asked import written_question
    from relgnn.loop.scored import open_scored

    scored = open_scored(run)
    graph = scored.graph
    query = written_question(graph, relation, head, tail, k)
    same = graph.train[:, 1] == query.relation
    given = {tuple(triple) for triple in graph.train[same].tolist()}
    answers = [
        {"entity": graph.entities[answer], "name": graph.entity_names[answer], "score": score,
         "known": query.triple(answer) in given}
        for answer, score in scored.best(query.relation, query.known, query.backward, query.k)
    ]  # fmt: skip
    if as_json:
        print_json(answers)
        return
    for place, one in enumerate(answers, 1):
        told = ", given" if one["known"] else ""
        named = one["name"] or one["entity"]
        print(f"{place:3d}. {named} ({one['entity']}; score {one['score']:.2f}{told})")


def extract(
    run: RunFolder,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT", help="The text itself, @FILE for a file's, - for standard input's."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="What TEXT calls the first entity; for a run of relation extraction."),
    ] = None,
    tail: Annotated[str | None, typer.Option(help="The same of the second entity.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="In place of TEXT: JSON lines with text (or tokens), head and tail."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--top", min=1, help=f"Labels shown of a pair of mentions; {LABELS}."),
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(
            help="Id or exact name of what the text is about, which its sentences need not name; "
            "by default what the first sentence names first."
        ),
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Least probability shown; by default loop.min_probability of RUN."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the triples that a text states.

    Each comes with its sentence, its probability and what text and graph alone say; with --json
    also with the characters that name its ends. A run of relation extraction says how the text
    relates the mentions --head and --tail, with calibrated probabilities.
    """
    if (text is None) == (file is None):
        raise InputError("give a TEXT, or --file with JSON lines for a run of relation extraction")
    content = read_text(text) if text is not None else None
    if content is not None and not content.strip():
        raise InputError("the text is empty; give at least one sentence")
    start_quietly()
    if is_relation_run(run):
        if about is not None or at_least is not None:
            raise InputError(
                f"{run}: is a run of relation extraction; leave --about and --at-least away"
            )
        label(run, content, head, tail, file, LABELS if k is None else k, as_json)
        return
    require_loop(run)
    if content is None or any(one is not None for one in (head, tail, k)):
        raise InputError(
            f"{run}: is no run of relation extraction; give TEXT alone, without "
            "--head, --tail, --file and -k"
        )
    from relgnn.data.lookup import find_entity
    from relgnn.loop.asked import least_probability, stated
    from relgnn.loop.opened import open_run

    opened = open_run(run)
    subject = find_entity(opened.graph, about) if about is not None else None
    found = stated(opened, content, subject, at_least)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        print(_extraction(one, content))
    if not found:
        least = least_probability(opened, at_least)
        note(f"no triple with a probability of {least:g} or more; see --at-least")


def read_text(given: str) -> str:
    """The text that TEXT stands for.

    Raises:
        InputError: the file cannot be read or is not UTF-8.
    """
    if given != "-" and not given.startswith("@"):
        return given
    where = "standard input" if given == "-" else given[1:]
    try:
        data = sys.stdin.buffer.read() if given == "-" else Path(where).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: byte {error.start + 1} is not UTF-8; convert the text to UTF-8, for example "
            "with iconv"
        ) from None


def read_triples(path: Path) -> list[tuple[int, tuple[str, ...]]]:
    """(line, cells) of a file of triples.

    Raises:
        InputError: it is absent, not UTF-8, or a line has not three columns.
    """
    from relgnn.data.tables import Problems, raise_alone, read_table

    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    problems = Problems()
    table = read_table(path, COLUMNS, problems)
    raise_alone(problems, path.parent)
    return list(table.rows())


def resolve(
    graph: KnowledgeGraph, path: Path, written: Sequence[tuple[int, tuple[str, ...]]]
) -> np.ndarray:
    """Numbers [C, 3] of written triples.

    Raises:
        InputError: an id or name is unknown, with its line.
    """
    from relgnn.data.lookup import find_triples

    return find_triples(graph, ((f"{path}:{line}", cells) for line, cells in written))


def _as_tsv(results: list[dict[str, Any]]) -> str:
    lines = ["\t".join((*COLUMNS, "score", "probability"))]
    for one in results:
        p = "" if one["probability"] is None else f"{one['probability']:.6f}"
        lines.append("\t".join((*(one[c] for c in COLUMNS), f"{one['score']:.6f}", p)))
    return "".join(f"{line}\n" for line in lines)


def _answer(place: int, answer: Answer) -> str:
    p = "   ?" if answer.probability is None else f"{answer.probability:.2f}"
    given = ", given" if answer.known else ""
    lines = [f"{place:3d}. {p}  {answer.name} ({answer.entity}; score {answer.score:.2f}{given})"]
    return "\n".join([*lines, *(f"           {reason.text}" for reason in answer.why)])


def _extraction(one: Extraction, text: str) -> str:
    votes = ", ".join(f"{view} {p:.2f}" for view, p in one.votes.items())
    given = ", given" if one.known else ""
    triple = f"{one.head_name or one.head} –{one.relation_name or one.relation}→ "
    triple += one.tail_name or one.tail
    sentence = " ".join(text[slice(*one.sentence)].split())
    return f"{one.probability:.2f}  {triple} ({votes}{given})\n      “{sentence}”"
