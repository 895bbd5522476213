"""The HTTP service under load: latency at a rate, what it says beyond that, memory over time.

    python -m benchmarks.serving RUN [--rate N] [--seconds N] [--workers N] [--connections N]
        [--soak MINUTES] [--json] [--record]

Starts `relgnn serve RUN` and asks it to predict. Arrivals are a Poisson process that does not wait
for answers (open loop), over a fixed number of connections; a latency counts from when a request
was due, so that waiting for a free connection is part of it. After the rate itself comes four times
as much, which may be answered 200 or 429 and nothing else. The load is made on the same machine.
`--soak` keeps to the rate for so many minutes and tells of each, and of all together: every answer,
the memory in the end, and how much of their own the processes have gained. `--record` adds the
figures to experiments/results/speed.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil

from benchmarks.speed import Row, record
from experiments.command import make_parser, tells_errors, told_options
from experiments.commit import provenance
from relgnn.errors import MachineError
from relgnn.loop.opened import run_config, run_graph
from relgnn.runtime import rng

OVERLOAD = 4
WARM_S = 5.0
"""Seconds of load before anything is measured."""
MINUTE_S = 60.0
QUERIES = 1000
"""Different bodies that are asked in turn."""
SETTINGS = ("rate", "seconds", "workers", "connections", "soak")
"""Options that the figures depend on."""
QUANTILES = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}


@dataclass
class Outcome:
    """What came of a load.

    Attributes:
        seconds: from the first arrival to the last answer.
        latency_s: of each request, from when it was due, by status; 0 is a broken connection.
        memory_mb: of the service's processes when it was over.
        own_mb: what none of them shares: other programs that come and go change nothing of it.
        cpu_s: processor time that they took.
    """

    seconds: float = 0.0
    latency_s: dict[int, list[float]] = field(default_factory=dict)
    memory_mb: float = 0.0
    own_mb: float = 0.0
    cpu_s: float = 0.0

    def add(self, status: int, latency_s: float) -> None:
        """Count an answer."""
        self.latency_s.setdefault(status, []).append(latency_s)

    def then(self, later: Outcome) -> Outcome:
        """Both loads as one: all answers and times, and the memory after the later one."""
        statuses = self.latency_s.keys() | later.latency_s.keys()
        answers = {s: self.latency_s.get(s, []) + later.latency_s.get(s, []) for s in statuses}
        return replace(
            later, seconds=self.seconds + later.seconds, latency_s=answers,
            cpu_s=self.cpu_s + later.cpu_s,
        )  # fmt: skip

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came."""
        return Counter({status: len(found) for status, found in sorted(self.latency_s.items())})

    def quantiles(self) -> dict[str, float]:
        """Latencies of what was answered 200."""
        found = self.latency_s.get(200, [])
        return {name: float(np.quantile(found, q)) for name, q in QUANTILES.items() if found}


def bodies_of(run: Path) -> list[bytes]:
    """Open queries of the run's held-out triples, as JSON."""
    graph = run_graph(run_config(run), run)
    held_out = np.concatenate([graph.test, graph.valid, graph.train])[:QUERIES]
    asked = [(graph.entities[h], graph.relations[r]) for h, r, _ in held_out.tolist()]
    return [json.dumps({"head": h, "relation": r}).encode() for h, r in asked]


def arrivals(rate: float, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """Times in [0, seconds) of a Poisson process, ascending."""
    count = generator.poisson(rate * seconds)
    return np.sort(generator.uniform(0, seconds, count))


async def load(
    port: int, bodies: Sequence[bytes], due: np.ndarray, connections: int, outcome: Outcome
) -> None:
    """Send a request at each of the times in `due`, or as soon after as a connection is free."""
    waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    start = time.perf_counter()
    askers = [asyncio.create_task(_asker(port, waiting, outcome)) for _ in range(connections)]
    for number, moment in enumerate(due.tolist()):
        wait = start + moment - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        waiting.put_nowait((start + moment, bodies[number % len(bodies)]))
    for _ in askers:
        waiting.put_nowait(None)
    await asyncio.gather(*askers)
    outcome.seconds = time.perf_counter() - start


async def _asker(
    port: int, waiting: asyncio.Queue[tuple[float, bytes] | None], outcome: Outcome
) -> None:
    """One connection, which is kept open; opened again where the service closed it."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while (one := await waiting.get()) is not None:
        due, body = one
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            status = await _ask(*streams, body)
        except (OSError, EOFError):
            status, streams = 0, None
        outcome.add(status, time.perf_counter() - due)
    if streams is not None:
        streams[1].close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"  # noqa: E501
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return int(answer.split(b" ", 2)[1])


@contextmanager
def service(run: Path, workers: int) -> Iterator[tuple[int, psutil.Process]]:
    """`relgnn serve` on a free port until the block ends: the port and the parent process.

    Raises:
        MachineError: it ended before it listened.
    """
    command = [
        sys.executable, "-m", "relgnn", "serve", str(run), "--port", "0", "--rate", "1000000",
        "--workers", str(workers),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        try:
            port = _port(started.stderr)
            drain = subprocess.Popen(
                [sys.executable, "-c", "import sys; [None for _ in sys.stdin]"],
                stdin=started.stderr,
            )
            yield port, psutil.Process(started.pid)
        finally:
            started.terminate()
            started.wait()
    drain.wait()


def _port(lines: IO[str]) -> int:
    said = ""
    for line in lines:
        said = line.strip()
        if said.startswith("{") and json.loads(said)["event"] == "listening":
            return int(json.loads(said)["port"])
    raise MachineError(f"the service did not start: {said}")


def memory_mb(process: psutil.Process) -> tuple[float, float]:
    """Memory of the processes with their share of what others have too, and without it."""
    found = [one.memory_full_info() for one in family(process)]
    return sum(one.pss for one in found) / 2**20, sum(one.uss for one in found) / 2**20


def processor_s(process: psutil.Process) -> float:
    """Processor time that the processes have taken so far."""
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    return [process, *process.children(recursive=True)]


def run_load(
    port: int, process: psutil.Process, bodies: Sequence[bytes], rate: float, seconds: float,
    connections: int, name: str,
) -> Outcome:  # fmt: skip
    """Load at one rate, and the memory after it."""
    outcome, before_s = Outcome(), processor_s(process)
    due = arrivals(rate, seconds, rng(f"arrivals of {name}", 0))
    asyncio.run(load(port, bodies, due, connections, outcome))
    outcome.cpu_s = processor_s(process) - before_s
    outcome.memory_mb, outcome.own_mb = memory_mb(process)
    return outcome


def row_of(name: str, rate: float, outcome: Outcome, before_mb: float) -> Row:
    """What is recorded of a load; `before_mb` is `own_mb` before it."""
    statuses = outcome.statuses
    return {
        "row": f"serving_{name}",
        "peer": None,
        "ours_s": outcome.seconds,
        "ours_mb": outcome.memory_mb,
        "grown_mb": outcome.own_mb - before_mb,
        "asked_s": rate,
        "answered_s": statuses[200] / outcome.seconds,
        **outcome.quantiles(),
        "requests": statuses.total(),
        "cpu_s": outcome.cpu_s / statuses.total(),
        "busy": statuses[429],
        "failed": statuses.total() - statuses[200] - statuses[429],
    }


def told(row: Row) -> str:
    """One line for a person."""
    times = ", ".join(f"{name[:-2]} {1000 * row[name]:.1f} ms" for name in QUANTILES if name in row)
    return (
        f"{row['row']}: asked {row['asked_s']:.0f}/s, answered {row['answered_s']:.0f}/s, {times}; "
        f"{row['requests']} requests, {row['busy']} told 429, {row['failed']} failed; "
        f"{1000 * row['cpu_s']:.2f} ms of processor time each; "
        f"{row['ours_mb']:.0f} MB, {row['grown_mb']:+.1f} MB"
    )


@tells_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("benchmarks.serving", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run folder")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second; 200")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each load; 30")
    parser.add_argument("--workers", type=int, default=2, help="processes; 2")
    parser.add_argument("--connections", type=int, default=64, help="64")
    parser.add_argument("--soak", type=int, default=0, metavar="MINUTES", help="keep to the rate")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("--record", action="store_true", help="append to the results")
    given = parser.parse_args(arguments)
    began = provenance()
    rows = _measure(given)
    settings: dict[str, Any] = {name: getattr(given, name) for name in SETTINGS}
    if given.record:
        command = f"python -m benchmarks.serving RUN{told_options(parser, given, *SETTINGS)}"
        record("serving", rows, settings, began, command)
    if given.json:
        print(json.dumps({"rows": rows, **settings}, indent=2))
    return int(any(row["failed"] for row in rows))


def _measure(given: argparse.Namespace) -> list[Row]:
    bodies, rows = bodies_of(given.run), []
    with service(given.run, given.workers) as (port, process):

        def loaded(name: str, rate: float, seconds: float) -> Outcome:
            return run_load(port, process, bodies, rate, seconds, given.connections, name)

        def row(name: str, rate: float, outcome: Outcome) -> Row:
            found = row_of(name, rate, outcome, before_mb)
            print(told(found), file=sys.stderr, flush=True)
            return found

        before_mb = loaded("warm-up", given.rate, WARM_S).own_mb
        for name, rate in (("predict", given.rate), ("overload", OVERLOAD * given.rate)):
            rows.append(row(name, rate, loaded(name, rate, given.seconds)))
        whole: Outcome | None = None
        for minute in range(1, given.soak + 1):
            one = loaded(f"soak_{minute}", given.rate, MINUTE_S)
            row(f"soak_{minute}", given.rate, one)
            whole = whole.then(one) if whole else one
        if whole:
            rows.append(row("soak", given.rate, whole))
    return rows


if __name__ == "__main__":
    sys.exit(main())
