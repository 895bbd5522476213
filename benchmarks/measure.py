"""Timing in turns, peak memory of one call, and what the machine could do at most."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch

from relgnn.errors import InputError, MachineError, RelgnnError

Call = Callable[[], object]
Side = Callable[[], Call]
"""Sets a contestant up and returns what is timed. A function at the top of its module."""


@dataclass(frozen=True)
class Pair:
    """Ours against a peer.

    Args:
        row: name in the results.
        ours, peer: names of sides.
        limit: what the machine allows at best: the side that measures it, or seconds computed from
            `Limits`; None where none is known.
    """

    row: str
    ours: str
    peer: str
    limit: str | Callable[[Limits], float] | None = None


@dataclass(frozen=True)
class Bench:
    """Contestants that run in turns in one process, and the pairs that are compared.

    Args:
        module: where the sides are defined, for the processes that measure memory.
        sides: by name.
        pairs: what is compared.
        versions: the peers' names and versions, by side.
        notes: what a reader must know.
        repeats: of each side at least.
        check: what each side's last call returned, by name -> lines on whether they agree.
    """

    module: str
    sides: Mapping[str, Side]
    pairs: Sequence[Pair]
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    repeats: int = 5
    check: Callable[[dict[str, Any]], list[str]] | None = None

    def only(self, names: Sequence[str]) -> Bench:
        """The bench without other sides, and without pairs that need them.

        Raises:
            InputError: a name is unknown.
        """
        for name in names:
            if name not in self.sides:
                raise InputError(f"side '{name}': expected one of {', '.join(self.sides)}")
        kept = {name: side for name, side in self.sides.items() if name in names}
        pairs = [
            pair
            for pair in self.pairs
            if {pair.ours, pair.peer, *([pair.limit] if isinstance(pair.limit, str) else [])}
            <= set(kept)
        ]
        return replace(self, sides=kept, pairs=pairs)


@dataclass(frozen=True)
class Limits:
    """Measured limits of the machine.

    Args:
        copy: bytes read and written a second by a large copy.
        matmul: floating-point operations a second of a large float32 matrix product.
    """

    copy: float
    matmul: float

    def best(self, other: Limits) -> Limits:
        """The higher rates of two measurements: other work can only hide what a machine can do."""
        return Limits(max(self.copy, other.copy), max(self.matmul, other.matmul))


@dataclass(frozen=True)
class Measured:
    """One side: median seconds and peak memory of a call in MiB; None where it cannot run here."""

    seconds: float | None
    memory_mb: float | None
    failure: str | None = None


def machine_limits() -> Limits:
    """Copy bandwidth over 256 MiB and the rate of a 2048³ float32 matrix product."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    matrix = torch.ones(2048, 2048)
    copy = _median(lambda: target.copy_(source))
    product = _median(lambda: matrix @ matrix)
    return Limits(2 * source.numel() * 4 / copy, 2 * 2048**3 / product)


def _median(call: Call) -> float:
    call()
    return statistics.median(_timed(call)[0] for _ in range(5))


def _timed(call: Call) -> tuple[float, object]:
    start = time.perf_counter()
    found = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def measure(
    bench: Bench, repeats: int, say: Callable[[str], None]
) -> tuple[dict[str, Measured], list[str]]:
    """Time every side in turns, `repeats` times each after one warm-up, and its memory alone.

    Returns:
        by side, and the lines of the bench's check.
    """
    memory = {name: peak_memory(bench.module, name) for name in bench.sides}
    calls = {
        name: side() for name, side in bench.sides.items() if not isinstance(memory[name], str)
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    last: dict[str, Any] = {}
    for turn in range(-1, repeats):
        for name, call in calls.items():
            spent, last[name] = _timed(call)
            say(f"{name}: {'warm-up' if turn < 0 else f'{turn + 1} of {repeats}'}, {spent:.3f} s")
            if turn >= 0:
                times[name].append(spent)
    found = {}
    for name, peak in memory.items():
        if isinstance(peak, str):
            found[name] = Measured(None, None, peak)
        else:
            found[name] = Measured(statistics.median(times[name]), peak)
    return found, bench.check(last) if bench.check else []


def peak_memory(module: str, side: str) -> float | str:
    """MiB by which a side's first call raises the resident set of a fresh process, or why not.

    The process may address no more memory than is free, so that what does not fit is told
    and nothing is killed.
    """
    try:
        found: float | str = apart(_peak, module, side)
    except MachineError as error:
        found = str(error)
    return found


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function returns in a fresh process with as many threads, whose memory is its own.

    Raises:
        RelgnnError: the function did.
        MachineError: the process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    threads = torch.get_num_threads()
    process = context.Process(target=_answer, args=(send, threads, function, arguments))
    process.start()
    send.close()
    try:
        found = receive.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        why = (
            f"was killed by signal {-code}; free memory" if code < 0 else f"ended with code {code}"
        )
        raise MachineError(f"{function.__name__}: its process {why}") from None
    finally:
        process.join()
    if isinstance(found, RelgnnError):
        raise found
    return found


def _answer(
    send: Connection, threads: int, function: Callable[..., Any], arguments: Sequence[object]
) -> None:
    torch.set_num_threads(threads)
    try:
        found = function(*arguments)
    except RelgnnError as error:
        found = error
    send.send(found)


def _peak(module: str, side: str) -> float | str:
    room = int(0.9 * psutil.virtual_memory().available)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    # Peers warn of what they lack; the parent has said so already.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        call = importlib.import_module(module).BENCH.sides[side]()
        gc.collect()
        before = reset_peak()
        call()
        return peak_since(before)
    except (RuntimeError, MemoryError) as error:
        return _out_of_memory(error)


def _out_of_memory(error: Exception) -> str:
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    if asked:
        return f"out of memory (an allocation of {int(asked[1]) / 1e9:,.1f} GB failed)"
    if isinstance(error, MemoryError):
        return "out of memory"
    raise error


def reset_peak() -> float:
    """Let this process's peak start anew; returns the MiB that are resident now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_since(before: float) -> float:
    """MiB by which the peak since `reset_peak` is above `before`."""
    return _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
