"""The one progress bar: on standard error, only where that is a terminal, and never when quiet."""

from __future__ import annotations

import sys
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


class _Screen:
    """What is on the terminal now; nested bars share one display: a terminal has room for one."""

    def __init__(self) -> None:
        self.quiet = False
        self.display: Progress | None = None
        self.bars = 0

    def visible(self) -> bool:
        return not self.quiet and sys.stderr.isatty()

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
    """A bar on the screen, or nothing at all where none is to be seen."""

    def __init__(self, display: Progress | None, task: TaskID | None) -> None:
        self._display = display
        self._task = task

    def advance(self, amount: int = 1, description: str | None = None) -> None:
        """Move the bar on by `amount`, and change its words if `description` is given."""
        if self._display is not None and self._task is not None:
            self._display.update(self._task, advance=amount, description=description)


@contextmanager
def quiet_bars(quiet: bool = True) -> Iterator[None]:
    """Show no progress bar of the process while the block runs, or show them where not `quiet`."""
    before = _SCREEN.quiet
    _SCREEN.quiet = quiet
    try:
        yield
    finally:
        _SCREEN.quiet = before


@contextmanager
def bar(description: str, total: int | None = None, quiet: bool = False) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        description: the words before it.
        total: how much there is to do; unknown if None.
        quiet: show none.

    Yields:
        The bar, to be advanced by hand.
    """
    if quiet or not _SCREEN.visible():
        yield Bar(None, None)
        return
    display = _SCREEN.acquire()
    task = display.add_task(description, total=total)
    try:
        yield Bar(display, task)
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
