"""`relgnn ledger`: what a run believes and why, and people's verdicts on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relgnn.commands.ask import RunFolder, resolve
from relgnn.commands.console import AsJson, note, print_json, print_table
from relgnn.errors import InputError

if TYPE_CHECKING:
    from relgnn.loop.history import History

app = typer.Typer(
    help="What a run accepted from text and why; people's verdicts on it.",
    epilog='Example: relgnn ledger why runs/own "Ada Lovelace" P19 London',
    no_args_is_help=True,
    rich_markup_mode=None,
)

Head = Annotated[str, typer.Argument(metavar="HEAD", help="Id or exact name.")]
Relation = Annotated[str, typer.Argument(metavar="RELATION", help="Id or exact name.")]
Tail = Annotated[str, typer.Argument(metavar="TAIL", help="Id or exact name.")]
COLUMNS = (
    "head", "relation", "tail", "head_name", "relation_name", "tail_name", "weight", "p", "round",
    "reason", "evidence_ids", "sentences",
)  # fmt: skip
"""Of an exported table."""


class Decision(StrEnum):
    """Decisions to choose events by."""

    accepted = "accepted"
    connected = "connected"
    told = "told"
    rejected = "rejected"
    revoked = "revoked"


class Format(StrEnum):
    """Formats of an exported table."""

    tsv = "tsv"
    parquet = "parquet"


@app.command(epilog="Example: relgnn ledger show runs/own --decision accepted --relation P19")
def show(
    run: RunFolder,
    round_: Annotated[
        int | None, typer.Option("--round", min=1, help="By default the last recorded one.")
    ] = None,
    decision: Annotated[
        Decision | None,
        typer.Option(help="Only these; revoked: also those that a verdict rejects since."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Id or exact name.")] = None,
    relation: Annotated[str | None, typer.Option(help="Id or exact name.")] = None,
    tail: Annotated[str | None, typer.Option(help="Id or exact name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many events are shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the events of a round, the surest first, after checking that none was changed."""
    from relgnn.data.lookup import find_entity, find_relation

    history = _open(run)
    graph = history.graph
    wanted = {
        "head": head and graph.entities[find_entity(graph, head)],
        "relation": relation and graph.relations[find_relation(graph, relation)],
        "tail": tail and graph.entities[find_entity(graph, tail)],
    }
    events = [
        event
        for event in history.events(round_)
        if all(one is None or event[name] == one for name, one in wanted.items())
        and (decision is None or _decided(event, decision))
    ]
    if as_json:
        print_json(events[:limit])
        return
    header = ["triple", "text", "graph", "rules", "p", "decision", "weight", "reason", "verdict"]
    rows = [
        [
            _triple(event),
            *(_number(event[name]) for name in ("p_text", "p_graph", "p_rules", "p")),
            event["decision"],
            _number(event["weight"]),
            event["reason"],
            event["verdict"] or "",
        ]
        for event in events[:limit]
    ]
    number = events[0]["round"] if events else round_ or max(history.ledger.rounds, default=0)
    print_table(f"Round {number}: {len(events):,} events, hashes verified", header, rows)
    if len(events) > limit:
        note(f"{len(events) - limit:,} more; see --limit")


@app.command(epilog='Example: relgnn ledger why runs/own "Ada Lovelace" P19 London')
def why(
    run: RunFolder, head: Head, relation: Relation, tail: Tail, as_json: AsJson = False
) -> None:
    """Tell one triple's history: each round's votes and sentences, verdicts, where it stands.

    What the ledger leaves out, because it was found unlikely, comes from the round's own tables.
    """
    history = _open(run)
    found = history.why(history.find(head, relation, tail))
    if as_json:
        print_json(found)
        return
    print(f"{_triple(found)} ({found['head']}, {found['relation']}, {found['tail']})")
    for judged in found["rounds"]:
        print(f"round {judged['round']}: {_judged(judged)}")
        for one in judged["evidence"]:
            text = "its text is gone" if one["text"] is None else f"“{_line(one['text'])}”"
            print(f"    {one['id']}: {text}")
    for line in found["verdicts"]:
        reason = f": {_line(line['reason'])}" if "reason" in line else ""
        print(f"verdict: {line['verdict']} by {line['by']}, {line['time']}{reason}")
    print(f"now: {_standing(found['state'], history)}")


@app.command(
    epilog='Example: relgnn ledger revoke runs/own "Ada Lovelace" P19 Paris --by ann '
    '--reason "she was born in London"'
)
def revoke(
    run: RunFolder,
    head: Head,
    relation: Relation,
    tail: Tail,
    by: Annotated[str, typer.Option(help="Who says so.")],
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    as_json: AsJson = False,
) -> None:
    """Reject a triple: it leaves the graph, and what it taught, at the next round."""
    history = _open(run)
    line = dict(
        zip(("head", "relation", "tail"), history.find(head, relation, tail), strict=True)
    ) | {"verdict": "reject", "by": _said(by, "--by")}
    if reason is not None:
        line["reason"] = _said(reason, "--reason")
    _record(history, [line], as_json)


@app.command("import", epilog="Example: relgnn ledger import runs/own verdicts.tsv")
def import_(
    run: RunFolder,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A table separated by tabs, or JSON lines (.jsonl), with head, relation, tail, "
            "verdict (accept or reject), by, and, if you like, reason and time.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Add people's verdicts, of which the last on a triple counts from the next round on.

    What is rejected is never taught; what is accepted is, with weight 1. Entities and relations
    are ids or exact names. Nothing is added if anything in the file is wrong; what was there
    already is skipped.
    """
    from relgnn.loop.verdicts import read_verdicts

    rows = read_verdicts(file)
    history = _open(run)
    graph = history.graph
    cells = [(line, (row["head"], row["relation"], row["tail"])) for line, row in rows]
    lines = [
        {
            **row,
            "head": graph.entities[h],
            "relation": graph.relations[r],
            "tail": graph.entities[t],
        }
        for (_, row), (h, r, t) in zip(rows, resolve(graph, file, cells).tolist(), strict=True)
    ]
    _record(history, lines, as_json)


@app.command(epilog="Example: relgnn ledger export runs/own believed.tsv")
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file that is written.")],
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="By default parquet where OUT ends so, else tsv."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what the run believes beside the given triples: accepted ones, after the verdicts.

    Each comes with weight, probability, round, reason, and the ids and texts of its evidence; in a
    TSV these two are JSON lists.
    """
    from relgnn.training import atomic_file

    rows = _open(run).state()
    kind = format_ or (Format.parquet if out.suffix == ".parquet" else Format.tsv)
    with atomic_file(out) as path:
        if kind is Format.tsv:
            path.write_text(_as_tsv(rows), encoding="utf-8")
        else:
            _write_parquet(rows, path)
    if as_json:
        print_json({"path": str(out), "triples": len(rows)})
    else:
        print(f"{out}: {len(rows):,} accepted triples")


def _open(run: Path) -> History:
    from relgnn.loop.history import History

    return History(run)


def _said(text: str, option: str) -> str:
    if not text.strip():
        raise InputError(f"{option} {text!r}: expected a text that is not empty")
    return text


def _decided(event: Mapping[str, Any], decision: Decision) -> bool:
    rejected_since = decision is Decision.revoked and event["verdict"] == "reject"
    return event["decision"] == decision.value or rejected_since


def _record(history: History, lines: Sequence[Mapping[str, str]], as_json: bool) -> None:
    new, idle = history.add(lines)
    if as_json:
        print_json({"new": new, "known": len(lines) - new, "without_effect": len(idle)})
    else:
        print(f"new verdicts: {new:,}, there already: {len(lines) - new:,}")
    if idle:
        first = _triple(history.named((idle[0]["head"], idle[0]["relation"], idle[0]["tail"])))
        note(
            "warning: verdicts without effect, because their triples are given in train, valid or "
            f"test: {len(idle):,}, such as {first}"
        )
    if new > 0 and len(idle) < len(lines):
        note(_next(history))


def _next(history: History) -> str:
    more = f" loop.rounds={history.next_round}" * (history.folder / "metrics.json").is_file()
    return f"verdicts count from the next round on: relgnn run --resume {history.folder}{more}"


def _standing(state: Mapping[str, Any], history: History) -> str:
    said = {
        "given": f"given in {state['split']}",
        "accepted": f"accepted with weight {state['weight']:.2f}",
    }.get(state["decision"], state["decision"])
    if state["pending"]:
        said += f"; the trained model does not know that yet: {_next(history)}"
    return said


def _judged(judged: Mapping[str, Any]) -> str:
    if judged["decision"] is None:
        return judged["reason"]
    votes = ", ".join(
        f"{name} {judged[f'p_{name}']:.2f}"
        for name in ("text", "graph", "rules")
        if judged[f"p_{name}"] is not None
    )
    p = "" if judged["p"] is None else f" at {judged['p']:.2f}"
    weight = f", weight {judged['weight']:.2f}" if judged["weight"] else ""
    return f"{judged['decision']}{p}{f' ({votes})' if votes else ''}{weight}: {judged['reason']}"


def _triple(one: Mapping[str, Any]) -> str:
    return f"{one['head_name']} –{one['relation_name']}→ {one['tail_name']}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _as_tsv(rows: Sequence[Mapping[str, Any]]) -> str:
    def cell(value: Any) -> str:
        if isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return "" if value is None else str(value)

    lines = [COLUMNS, *([cell(row[name]) for name in COLUMNS] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, pa.DataType] = dict.fromkeys(COLUMNS, pa.string())
    kinds |= {"weight": pa.float64(), "p": pa.float64(), "round": pa.int64()}
    kinds |= dict.fromkeys(("evidence_ids", "sentences"), pa.list_(pa.string()))
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(kinds)), path)
