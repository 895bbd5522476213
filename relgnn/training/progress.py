"""The one progress bar, on standard error: a bar on a terminal, elsewhere now and then a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

LINE_SECONDS = 30.0
"""Between two lines where there is no terminal; what ends sooner writes none."""


class _Screen:
    """What is on the terminal now; nested bars share one display: a terminal has room for one."""

    def __init__(self) -> None:
        self.quiet = False
        self.name: str | None = None
        self.display: Progress | None = None
        self.bars = 0

    def acquire(self) -> Progress:
        if self.display is None:
            self.display = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self.display.start()
        self.bars += 1
        return self.display

    def release(self) -> None:
        self.bars -= 1
        if self.display is not None and self.bars == 0:
            self.display.stop()
            self.display = None


_SCREEN = _Screen()


class Bar:
    """How far something is; this one keeps it to itself."""

    def advance(self, amount: int = 1, description: str | None = None) -> None:
        """Move on by `amount`, and change the words if `description` is given."""


class _Drawn(Bar):
    """A bar on the terminal."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task

    def advance(self, amount: int = 1, description: str | None = None) -> None:
        self._display.update(self._task, advance=amount, description=description)


class _Lines(Bar):
    """Lines for a file or another program that reads standard error."""

    def __init__(self, description: str, total: int | None) -> None:
        self._words, self._total, self._done = description, total, 0
        self._began = self._last = time.monotonic()

    def advance(self, amount: int = 1, description: str | None = None) -> None:
        self._done += amount
        self._words = description or self._words
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            of = "" if self._total is None else f" of {self._total:,}"
            name = "" if _SCREEN.name is None else f"{_SCREEN.name}: "
            said = f"{name}{self._words}: {self._done:,}{of} after {now - self._began:,.0f} s"
            print(said, file=sys.stderr, flush=True)


@contextmanager
def quiet_bars(quiet: bool = True) -> Iterator[None]:
    """Show no progress in the process while the block runs, or show it where not `quiet`."""
    before = _SCREEN.quiet
    _SCREEN.quiet = quiet
    try:
        yield
    finally:
        _SCREEN.quiet = before


@contextmanager
def named_lines(name: str) -> Iterator[None]:
    """Show progress as lines that begin with a name while the block runs.

    For a process among several that share a standard error, where bars would overwrite each other.
    """
    before = _SCREEN.name
    _SCREEN.name = name
    try:
        yield
    finally:
        _SCREEN.name = before


@contextmanager
def bar(description: str, total: int | None = None, quiet: bool = False) -> Iterator[Bar]:
    """Show how far the block is while it runs.

    Args:
        description: the words before it.
        total: how much there is to do; unknown if None.
        quiet: show nothing.

    Yields:
        The bar, to be advanced by hand.
    """
    if quiet or _SCREEN.quiet:
        yield Bar()
        return
    if _SCREEN.name is not None or not sys.stderr.isatty():
        yield _Lines(description, total)
        return
    display = _SCREEN.acquire()
    task = display.add_task(description, total=total)
    try:
        yield _Drawn(display, task)
    finally:
        display.remove_task(task)
        _SCREEN.release()


def track(
    iterable: Iterable[T], description: str, total: int | None = None, quiet: bool = False
) -> Iterator[T]:
    """Yield the items of `iterable` and show how far it is.

    Args:
        iterable: anything; its length is used where it has one and `total` is None.
        description: the words before the bar.
        total: how many items there are.
        quiet: show none.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(description, total, quiet) as shown:
        for item in iterable:
            yield item
            shown.advance()
