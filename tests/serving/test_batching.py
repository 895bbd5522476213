"""Lanes: what waits goes together, in order, bounded, and is finished before the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from relgnn.serving.batching import Busy, Closed, Lane


class Gate:
    """Work that waits until it is let go; doubles numbers, and fails on negative ones."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[int]) -> list[int]:
        self.begun.set()
        assert self.open.wait(30)
        self.batches.append(list(jobs))
        if min(jobs) < 0:
            raise ValueError("negative")
        return [2 * job for job in jobs]


async def begun(gate: Gate, lane: Lane[int, int], first: int = 0) -> asyncio.Task[int]:
    """The first job, which the thread has taken."""
    task = asyncio.create_task(lane.ask(first))
    assert await asyncio.to_thread(gate.begun.wait, 30)
    return task


async def waiting(lane: Lane[int, int], jobs: Sequence[int]) -> list[asyncio.Task[int]]:
    """Jobs in the queue."""
    tasks = [asyncio.create_task(lane.ask(job)) for job in jobs]
    while len(lane) < len(jobs):
        await asyncio.sleep(0)
    return tasks


def test_what_waits_is_worked_off_together_and_in_order() -> None:
    gate, sizes = Gate(), []
    lane = Lane("test", gate, depth=10, size=3, seen=sizes.append)

    async def run() -> list[int]:
        lane.start()
        tasks = [await begun(gate, lane), *await waiting(lane, [1, 2, 3, 4])]
        gate.open.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == [0, 2, 4, 6, 8]
    assert gate.batches == [[0], [1, 2, 3], [4]] and sizes == [1, 3, 1]
    assert lane.close(30)


def test_one_bad_job_is_its_own_fault() -> None:
    gate = Gate()
    lane = Lane("test", gate, depth=10, size=8)

    async def run() -> list[int | BaseException]:
        lane.start()
        tasks = [await begun(gate, lane), *await waiting(lane, [1, -1, 2])]
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    zero, one, bad, two = asyncio.run(run())
    assert (zero, one, two) == (0, 2, 4) and isinstance(bad, ValueError)
    assert lane.alive and lane.close(30) and not lane.alive


def test_a_full_queue_refuses_and_a_closed_lane_finishes_what_waits() -> None:
    gate = Gate()
    lane = Lane("test", gate, depth=2, size=1)

    async def run() -> list[int]:
        lane.start()
        tasks = [await begun(gate, lane), *await waiting(lane, [1, 2])]
        with pytest.raises(Busy):
            await lane.ask(3)
        assert not lane.close(0)
        with pytest.raises(Closed):
            await lane.ask(4)
        gate.open.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == [0, 2, 4]
    assert lane.close(30)


def test_whoever_gives_up_takes_their_job_along() -> None:
    gate = Gate()
    lane = Lane("test", gate, depth=5, size=5)

    async def run() -> int:
        lane.start()
        first = await begun(gate, lane)
        gone, kept = await waiting(lane, [1, 2])
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        gate.open.set()
        return await first + await kept

    assert asyncio.run(run()) == 4
    assert gate.batches == [[0], [2]] and lane.close(30)


def test_who_gave_up_keeps_nobody_out() -> None:
    gate = Gate()
    lane = Lane("test", gate, depth=2, size=1)

    async def run() -> list[int]:
        lane.start()
        first = await begun(gate, lane)
        gone = await waiting(lane, [1, 2])
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert len(lane) == 0 and not lane.full
        others = await waiting(lane, [3, 4])
        gate.open.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(run()) == [0, 6, 8]
    assert gate.batches == [[0], [3], [4]] and lane.close(30)


def test_a_lane_without_work_ends() -> None:
    lane = Lane("test", Gate(), depth=1)
    lane.start()
    assert lane.close(30)
