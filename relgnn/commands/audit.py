"""`relgnn audit`: fairness and cards of a run, its withheld statements, and its log."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from relgnn.commands.ask import RunFolder
from relgnn.commands.console import AsJson, note, print_json, print_table, start_quietly, user
from relgnn.errors import InputError

if TYPE_CHECKING:
    from relgnn.audit.queue import Item, Queue


class _RunByDefault(TyperGroup):
    """A group whose command `run` need not be named: `relgnn audit RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    help="Fairness and cards of a run, its withheld statements, and its log.",
    epilog="Example: relgnn audit runs/own --group P27",
    no_args_is_help=True,
    rich_markup_mode=None,
)
queue = typer.Typer(
    help="Private and harmful statements that the service withheld.",
    epilog="Example: relgnn audit queue list runs/own",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(queue, name="queue")

Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The statement's number.")]
By = Annotated[str | None, typer.Option(help="Who decides; by default the user of this machine.")]


class State(StrEnum):
    """Where a withheld statement stands."""

    waiting = "waiting"
    released = "released"
    withheld = "withheld"


@app.command(epilog="Example: relgnn audit runs/own --group P27 --group pronoun")
def run(
    run: RunFolder,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="A relation (id or exact name) that says who is in which group, or `pronoun` (of "
            "people's pages); may be given several times. By default gender, citizenship and "
            "pronouns, as far as the data have them and some group is large enough."
        ),
    ] = None,
    least: Annotated[
        int, typer.Option(min=2, help="Members with questions that a group needs.")
    ] = 20,
    swaps: Annotated[int, typer.Option(min=0, help="Persons whose group is swapped.")] = 100,
    cards: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write model_card.md and data_card.md there, with the last audit's findings, in "
            "place of an audit; without --group and --out.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where fairness.json and fairness.md go, not RUN/audit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Audit a run: gaps in error and calibration between groups, and swapped groups.

    `relgnn audit RUN` is short for it. Test triples are asked for once more, as `relgnn evaluate`
    does.
    """
    start_quietly()
    if cards is not None:
        if group or out is not None:
            raise InputError(
                "--cards writes cards in place of an audit; leave --group and --out away"
            )
        from relgnn.audit.cards import write_cards

        written = [str(path) for path in write_cards(run, cards)]
        if as_json:
            print_json({"cards": written})
        else:
            print("\n".join(written))
        return
    from relgnn.audit.report import audit_run
    from relgnn.loop.opened import open_run

    report = audit_run(open_run(run), group or (), least, swaps)
    paths = report.write(run / "audit" if out is None else out)
    if as_json:
        print_json(report.to_dict())
        return
    print(report.markdown())
    note(f"written to {' and '.join(map(str, paths))}")


@queue.command("list", epilog="Example: relgnn audit queue list runs/own --state waiting")
def list_(
    run: RunFolder,
    state: Annotated[State | None, typer.Option(help="Only these.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the statements that were withheld, oldest first."""
    items = _queue_of(run).items(state.value if state else None)
    words = _words(run, items)
    found = [one.to_dict() | {"statement": said} for one, said in zip(items, words, strict=True)]
    if as_json:
        print_json(found)
        return
    header = ["id", "statement", "p", "category", "route", "state", "by"]
    rows = [[_cell(one[name]) for name in header] for one in found]
    print_table(f"{run}: {len(found)} statements", header, rows)


@queue.command(epilog="Example: relgnn audit queue release runs/own 3")
def release(run: RunFolder, number: Number, by: By = None, as_json: AsJson = False) -> None:
    """Let the service tell a statement from now on."""
    _decide(run, number, State.released, by, as_json)


@queue.command(epilog="Example: relgnn audit queue withhold runs/own 3")
def withhold(run: RunFolder, number: Number, by: By = None, as_json: AsJson = False) -> None:
    """Keep a statement back, also one that was released."""
    _decide(run, number, State.withheld, by, as_json)


@app.command(epilog="Example: relgnn audit verify runs/own/audit/log.jsonl --head 12:9f86d0…")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audit log.")],
    head: Annotated[
        str | None,
        typer.Option(help="What this command printed before: nothing up to there may be gone."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry of a log was changed, removed, inserted or moved.

    Prints the head to note elsewhere. Exit status 2 names the first entry that is wrong. Without a
    noted head nobody can tell whether the end was cut off, or all of it rewritten.
    """
    from relgnn.audit.chain import NOTHING, AuditLog, Head

    if not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    found = AuditLog(file).verify(Head.parse(head) if head is not None else NOTHING)
    if as_json:
        print_json({"entries": found.entries, "head": str(found)})
    else:
        print(f"{file}: {found.entries} entries, none changed; note this head: {found}")


def _queue_of(run: Path) -> Queue:
    from relgnn.audit.queue import Queue, audit_log
    from relgnn.loop.opened import run_config

    run_config(run)  # an InputError where it is no run
    return Queue(audit_log(run))


def _decide(run: Path, number: int, state: State, by: str | None, as_json: bool) -> None:
    found = _queue_of(run)
    decision = found.decision(number, state.value, by or user())
    # before it is recorded: where the data are gone, an error means that nothing was decided
    said = "" if as_json else _words(run, [found.item(number)])[0]
    found.log.append([decision])
    item = found.item(number)
    if as_json:
        print_json(item.to_dict())
    else:
        print(f"{item.state} by {item.by}: {said}")


def _words(run: Path, items: Sequence[Item]) -> list[str]:
    """Statements by the names of the run's data."""
    from relgnn.data.lookup import find_triples
    from relgnn.loop.opened import run_config, run_graph
    from relgnn.loop.why import path_line

    graph = run_graph(run_config(run), run)
    numbers = find_triples(graph, ((f"statement {one.id}", one.triple) for one in items))
    return [path_line(graph, (h, t), (r,)) for h, r, t in numbers.tolist()]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)
