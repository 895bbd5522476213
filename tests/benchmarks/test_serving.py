"""The load on the service: Poisson arrivals, latencies from when a request was due, rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import serving, speed
from experiments import commit, results
from experiments.speed import render_speed
from relgnn.runtime import rng


class Server:
    """Answers every request 200, but each third 429, and drops the tenth connection's request."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                if len(self.bodies) == 10:
                    break
                status = b"429 Too Many" if len(self.bodies) % 3 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            pass
        writer.close()


def test_every_arrival_is_asked_and_counted() -> None:
    server, outcome = Server(), serving.Outcome()

    async def run() -> None:
        listener = await asyncio.start_server(server, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            await serving.load(port, [b"a", b"bb"], np.zeros(31), 4, outcome)

    asyncio.run(run())
    assert sorted(server.bodies) == [b"a"] * 16 + [b"bb"] * 15
    assert outcome.statuses == {0: 1, 200: 20, 429: 10}
    assert outcome.seconds >= max(outcome.latency_s[200]) > 0
    row = serving.row_of("predict", 100.0, outcome, before_mb=1.0)
    assert (row["requests"], row["busy"], row["failed"]) == (31, 10, 1)
    assert row["answered_s"] == 20 / outcome.seconds and row["grown_mb"] == -1
    assert row["p50_s"] <= row["p95_s"] <= row["p99_s"]


def test_a_request_that_waits_for_a_connection_is_late() -> None:
    """Due long ago: whoever counts from sending would find it fast."""
    outcome = serving.Outcome()

    async def run() -> None:
        async with await asyncio.start_server(Server(), "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            await serving.load(port, [b"a"], np.array([-5.0]), 1, outcome)

    asyncio.run(run())
    assert outcome.latency_s[200][0] > 5


def test_arrivals_are_a_poisson_process() -> None:
    due = serving.arrivals(50.0, 400.0, rng("test arrivals", 0))
    assert len(due) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(due)
    assert (gaps >= 0).all() and due[0] >= 0 and due[-1] < 400
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of exponential gaps


def test_bodies_are_questions_of_the_run(own_run: Path) -> None:
    asked = [json.loads(body) for body in serving.bodies_of(own_run)]
    assert {"head": "e0", "relation": "born"} in asked and len(asked) == 60


def test_rows_are_recorded_and_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = serving.Outcome(
        2.0, {200: [0.01, 0.03], 429: [0.001]}, 512.0, cpu_s=0.006, own_mb=500.0
    )
    row = serving.row_of("overload", 800.0, outcome, before_mb=488.0)
    assert "800/s" in serving.told(row) and "p99 29.8 ms" in serving.told(row)
    kept: list[results.Line] = []
    monkeypatch.setattr(speed, "append", lambda table, lines: kept.extend(lines))
    monkeypatch.setattr(commit, "_git", lambda *words: "")
    began = {"git_commit": "c" * 40, "dirty": False}
    speed.record("serving", [row], {"rate": 200}, began, "python -m benchmarks.serving RUN")
    results.append("speed", kept, tmp_path)
    text = render_speed(results.read_lines("speed", tmp_path))
    assert "| `serving_overload` | 800.0 | 1.000 | 0.020 |" in text
    assert "| 0.002 | 1 | 0 | 512 | 12 |" in text and "benchmarks.serving RUN" in text


def test_a_soak_counts_every_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first minute's failure and slow answer are in the row of all, and in the exit status."""

    @contextmanager
    def service(run: Path, workers: int) -> Iterator[tuple[int, None]]:
        yield 1, None

    quick = {200: [0.01] * 98}
    minutes = {
        "soak_1": serving.Outcome(60.0, quick | {429: [0.001], 0: [9.0]}, 900.0, 500.0, 2.0),
        "soak_2": serving.Outcome(60.5, {200: [0.5] * 2}, 910.0, 505.0, 0.5),
    }

    def run_load(*arguments: Any) -> serving.Outcome:
        return minutes.get(arguments[-1], serving.Outcome(30.0, dict(quick), 800.0, 490.0, 1.0))

    monkeypatch.setattr(serving, "service", service)
    monkeypatch.setattr(serving, "run_load", run_load)
    monkeypatch.setattr(serving, "bodies_of", lambda run: [b"{}"])
    assert serving.main(["RUN", "--soak", "2", "--json"]) == 1
    said = capsys.readouterr()
    predict, overload, soak = json.loads(said.out)["rows"]
    assert predict["failed"] == overload["failed"] == 0
    assert (soak["requests"], soak["busy"], soak["failed"]) == (102, 1, 1)
    assert soak["ours_s"] == 120.5 and soak["answered_s"] == 100 / 120.5
    assert soak["p50_s"] == 0.01 and soak["p99_s"] > 0.4 and soak["cpu_s"] == 2.5 / 102
    assert soak["ours_mb"] == 910 and soak["grown_mb"] == 15
    assert said.err.count("serving_soak") == 3
