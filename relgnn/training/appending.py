"""Lines of JSON that are only ever added to a file, by several processes, on disk when told."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from relgnn.training.checkpoint import sync

BLOCK = 64 * 1024
"""Bytes that are read at once in search of the last line's beginning."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else, also in another process, is inside for the same path at the same time.

    Args:
        path: an empty file that is made if absent, and stays.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def append_lines(path: Path, written: Callable[[bytes], str]) -> None:
    """Add lines that are on disk when this returns, or leave the file as it was.

    Whoever appends at the same time, also from another process, waits for its turn. A last line
    that a dying process cut off is taken away: nobody was told that it is recorded.

    Args:
        path: the file; it and its folder are made if absent.
        written: the file's last line, without its break and empty where there is none -> the text
            to add, which ends with a line break.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if new:
            sync(path.parent)  # else the file itself might be gone after a power failure
        end, breaks = file.seek(0, os.SEEK_END), b""
        last, whole = _last_line(file, end)
        if not whole and not is_json(last):
            end -= len(last)
            file.truncate(end)
            last, _ = _last_line(file, end)
        elif not whole:
            breaks = b"\n"
        rest = breaks + written(last).encode()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def is_json(line: bytes | str) -> bool:
    """Whether a line is whole: one that was cut off is no JSON."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _last_line(file: IO[bytes], end: int) -> tuple[bytes, bool]:
    """The last line of a file's first `end` bytes, and whether a line break ends it."""
    found, start = b"", end
    while start and found.count(b"\n", 0, -1) == 0:
        start = max(0, start - BLOCK)
        file.seek(start)
        found = file.read(end - start)
    whole = found.endswith(b"\n") or not found
    return found.removesuffix(b"\n").rpartition(b"\n")[2], whole
