"""The `relgnn` command: assembles the commands and turns every failure into one line."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

# Before torch is imported anywhere: waiting threads must not burn the few cores there are.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import typer

from relgnn import __version__
from relgnn.commands import ask, attack, audit, data, explain, ledger, rules, search, serve, train
from relgnn.commands.console import SETTINGS
from relgnn.errors import InputError, MachineError, RelgnnError, lacks_memory

STOPPED = 130
# what typer raises where a command is called wrongly; it has no public name there
_UsageError: Any = typer.BadParameter.__bases__[0]
NO_MEMORY = "the memory is not enough; lower text.batch_tokens or train.batch_size"

app = typer.Typer(
    help="Language models and graph networks that teach each other to complete knowledge graphs.",
    epilog="Example: relgnn demo. `relgnn COMMAND --help` explains a command.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.add_typer(ledger.app, name="ledger")
app.add_typer(audit.app, name="audit")
app.add_typer(serve.keys, name="serve-key")
app.command(epilog="Example: relgnn demo --fraction 0.1 --gnn compgcn")(train.demo)
app.command(epilog="Example: relgnn run own.yaml train.epochs=50 --out runs/own")(train.run)
app.command(epilog="Example: relgnn evaluate runs/own --ranks ranks.tsv")(train.evaluate)
app.command(epilog="Example: relgnn search own.yaml --space space.yaml --trials 30")(search.search)
app.command(epilog="Example: relgnn attack runs/re --limit 100 --out rewrites.jsonl")(attack.attack)
app.command(epilog="Example: relgnn score runs/own triples.tsv --out scores.tsv")(ask.score)
app.command(epilog='Example: relgnn predict runs/own --head "Ada Lovelace" --relation P106 -k 5')(
    ask.predict
)
app.command(
    epilog='Example: relgnn explain runs/own --head "Ada Lovelace" --relation P106 --tail poet'
)(explain.explain)
app.command(epilog="Example: relgnn rules runs/rules --relation P106 --limit 10")(rules.rules)
app.command(epilog='Example: relgnn extract runs/own "Ada Lovelace was born in London."')(
    ask.extract
)
app.command(epilog="Example: relgnn serve runs/own --keys keys.json --workers 2")(serve.serve)


def _version(asked: bool) -> None:
    if asked:
        print(f"relgnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress and no notes; may stand anywhere.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that hold for every command."""
    SETTINGS.quiet = quiet


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    0: done; 2: the input is wrong; 3: the machine failed; 130: stopped by Ctrl-C. Every failure is
    one line on standard error.

    Args:
        arguments: what follows `relgnn`; by default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    ends = given.index("--") if "--" in given else len(given)
    if "--quiet" in given[:ends]:
        rest = [a for a in given[:ends] if a != "--quiet"]
        given = ["--quiet", *rest, *given[ends:]]
    _require_unicode(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names and arrows must not end a command where the terminal or a pipe is not UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    status = None
    try:
        with SETTINGS.ending:
            status = app(given, prog_name="relgnn", standalone_mode=False)
    except _UsageError as error:
        if type(error).show is not _UsageError.show:  # nothing was asked for: it shows the help
            error.show()
            sys.exit(InputError.exit_code)
        _leave(_misused(error), InputError.exit_code)
    except RelgnnError as error:
        _leave(str(error), error.exit_code)
    except (OSError, RuntimeError, MemoryError) as error:
        message = _machine(error)
        if message is None:
            raise
        _leave(message, MachineError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def _require_unicode(words: Sequence[str]) -> None:
    """Leave where a word has bytes that are no text, which nothing here could write down."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            _leave(f"{word!a} is not UTF-8; write it in UTF-8", InputError.exit_code)


def _misused(error: Any) -> str:
    """What is wrong with the words of a command, and which help tells of them."""
    said = error.format_message().replace(": Value error, ", ": ")
    command = error.ctx.command_path if error.ctx is not None else "relgnn"
    said = f"{said[:1].lower()}{said[1:].rstrip('.')}{'' if said.endswith('?') else ';'}"
    return f"{said} see `{command} --help`"


def _machine(error: OSError | RuntimeError | MemoryError) -> str | None:
    """What to say of a failure of the machine; None for a mistake of ours."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{error.filename or 'a file'}: no space left on the disk; free some and repeat"
        return f"{error.filename or 'a file'}: {error.strerror or error}; check the path and rights"
    return NO_MEMORY if lacks_memory(error) else None


def _leave(message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    print(line if status == STOPPED else f"error: {line}", file=sys.stderr)
    sys.exit(status)
