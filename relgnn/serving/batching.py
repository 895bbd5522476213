"""Requests that come at once are worked off together, in one thread, and not more than can wait."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
_Waiting = tuple[Job, "asyncio.Future[Result]", asyncio.AbstractEventLoop]


class Busy(Exception):
    """A lane is full: ask again a little later."""


class Closed(Exception):
    """A lane takes no more jobs: the process is stopping."""


class Lane(Generic[Job, Result]):
    """One thread and a bounded queue before it.

    Nothing waits for a batch to fill: a batch is what came while the one before it was worked off.
    So a lone request is as fast as it can be, and the busier it gets the larger batches are.

    Args:
        name: of the thread.
        work: jobs to as many results; where it fails on several, each is tried alone, so that
            nobody pays for another's job.
        depth: jobs that may wait.
        size: jobs of a batch at most.
        seen: told the size of every batch.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        depth: int,
        size: int = 1,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.name, self.work, self.depth, self.size, self.seen = name, work, depth, size, seen
        self._jobs: deque[_Waiting[Job, Result]] = deque()
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are worked off."""
        return self._thread.is_alive() and not self._closed

    @property
    def full(self) -> bool:
        """Whether a further job would be refused."""
        return len(self._jobs) >= self.depth

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    async def ask(self, job: Job) -> Result:
        """The result of a job; whoever is cancelled while waiting takes their job along.

        Raises:
            Busy: the queue is full.
            Closed: `close` was called.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._changed:
            if self._closed:
                raise Closed
            if self.full:
                raise Busy
            self._jobs.append((job, future, loop))
            self._changed.notify()
        try:
            return await future
        except asyncio.CancelledError:
            with self._changed:
                # jobs cannot be compared (arrays), futures can
                self._jobs = deque(one for one in self._jobs if one[1] is not future)
            raise

    def close(self, timeout: float | None = None) -> bool:
        """Take no more jobs, finish those that wait, and end the thread.

        Returns:
            Whether everything was finished within `timeout` seconds.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while batch := self._next():
            jobs = [job for job, _, _ in batch]
            self.seen(len(jobs))
            for (_, future, loop), result in zip(batch, self._results(jobs), strict=True):
                loop.call_soon_threadsafe(_settle, future, result)

    def _next(self) -> list[_Waiting[Job, Result]]:
        """The jobs that wait, up to a batch; none when the lane is closed and done."""
        with self._changed:
            while True:
                batch: list[_Waiting[Job, Result]] = []
                while self._jobs and len(batch) < self.size:
                    waiting = self._jobs.popleft()
                    if not waiting[1].done():
                        batch.append(waiting)
                if batch or self._closed:
                    return batch
                self._changed.wait()

    def _results(self, jobs: Sequence[Job]) -> Sequence[Result | Exception]:
        try:
            return self.work(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [error]
        return [self._results([job])[0] for job in jobs]


def _settle(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
