"""Several runs of a table at once, those that others read before them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from experiments.jobs import Job, members


def share_processors(at_once: int) -> None:
    """Give each of the processes that are started from now on its share of the processors.

    What the user set stays.
    """
    share = max(1, len(os.sched_getaffinity(0)) // at_once)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


def run_all(plan: Sequence[Job], work: Callable[[Job], object], at_once: int) -> None:
    """Do the work of every job once, at most so many at a time.

    After a failure nothing more is begun; what is under way ends first.

    Args:
        plan: jobs, those that others read before these.
        work: runs a job; in a thread of its own where several run at once.
        at_once: how many.
    """
    if at_once == 1:
        for job in plan:
            work(job)
        return
    waiting, running = list(plan), dict[Future[object], Job]()
    reads = {job.key: {one.key for one in members(job)} for job in plan}
    with ThreadPoolExecutor(at_once) as pool:
        while waiting or running:
            open_ = {job.key for job in (*waiting, *running.values())}
            ready = [job for job in waiting if not open_ & reads[job.key]]
            for job in ready[: at_once - len(running)]:
                waiting.remove(job)
                running[pool.submit(work, job)] = job
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                del running[ended]
                ended.result()
