"""What the command lines of this folder share."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import ParamSpec

from experiments.jobs import SEEDS
from relgnn.errors import InputError, RelgnnError

P = ParamSpec("P")


def tells_errors(main: Callable[P, int | None]) -> Callable[P, int]:
    """A `main` that tells an error in one line and returns its exit status; 0 where all is well."""

    @functools.wraps(main)
    def told(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except RelgnnError as error:
            print(error, file=sys.stderr)
            return error.exit_code

    return told


def make_parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m PROGRAM`, whose help is a module's docstring as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_seeds(parser: argparse.ArgumentParser, seeds: Sequence[int] = SEEDS) -> None:
    """The option `--seeds`, by default `seeds`."""
    told = " ".join(map(str, seeds))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds), help=told)


def told_options(parser: argparse.ArgumentParser, given: argparse.Namespace, *names: str) -> str:
    """Those of some options that were not left at their default, to put behind a command.

    Args:
        parser: knows the defaults.
        given: what it parsed.
        names: of options that what is measured depends on.
    """
    words = []
    for name in names:
        value = getattr(given, name)
        if value != parser.get_default(name):
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name}", *(shlex.quote(str(one)) for one in values)]
    return "".join(f" {word}" for word in words)


def require_known(option: str, kind: str, asked: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that nothing has.

    Args:
        option: such as "--rows".
        kind: what they name, such as "row".
        asked: names that were given.
        known: those that are there.

    Raises:
        InputError: one is unknown.
    """
    for one in asked:
        if one not in known:
            raise InputError(f"{option} {one}: is no {kind}; known are {', '.join(known)}")
