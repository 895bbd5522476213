"""Ctrl-C and SIGTERM as a request to stop at the next point from which a run can go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from relgnn.errors import RelgnnError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(RelgnnError):
    """The user or the system stopped the run, and what was done so far is kept."""

    exit_code = 130


@dataclass
class StopRequest:
    """Whether a stop was asked for."""

    requested: bool = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM in the block into a flag.

    The second raises `KeyboardInterrupt`.
    Outside the main thread, where Python delivers no signals, the flag stays down.

    Yields:
        The flag; long work looks at it wherever it can stop without loss.
    """
    stop = StopRequest()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        # The plain system call: a print in a signal handler may meet a lock its own thread holds.
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
