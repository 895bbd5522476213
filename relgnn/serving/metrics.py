"""What Prometheus scrapes: requests, their time, batches, queues, refusals, verdicts, memory."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Variable with the folder in which workers keep their numbers; read by prometheus_client."""


class Metrics:
    """The numbers of one process, or of all workers where `SHARED` is set. None names a person."""

    def __init__(self) -> None:
        own = self._own = CollectorRegistry()
        self.requests = Counter(
            "relgnn_requests", "Requests by route, method and status.",
            ("route", "method", "status"), registry=own,
        )  # fmt: skip
        self.seconds = Histogram(
            "relgnn_request_seconds", "Time from a request's head to its answer.", ("route",),
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.refused = Counter(
            "relgnn_refused", "Requests that were refused, by reason.", ("reason",), registry=own
        )
        # from 0 on, or else Prometheus sees no increase when it happens first
        self.refused.labels("machine")
        self.batch = Histogram(
            "relgnn_batch_size", "Requests that were worked off together.", ("lane",),
            buckets=SIZES, registry=own,
        )  # fmt: skip
        self.verdicts = Counter(
            "relgnn_verdicts", "Verdicts recorded, by verdict.", ("verdict",), registry=own
        )
        self.in_flight = Gauge(
            "relgnn_in_flight", "Requests under way.", registry=own, multiprocess_mode="livesum"
        )
        self.memory = Gauge(
            "relgnn_resident_bytes", "Resident memory of the workers.", registry=own,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.waiting = Gauge(
            "relgnn_statements_waiting", "Withheld statements that wait for a person.",
            registry=own, multiprocess_mode="livemostrecent",
        )  # fmt: skip
        self._process = psutil.Process()

    def measure(self) -> None:
        """Look at this process's memory; cheap, and to be called now and then."""
        self.memory.set(self._process.memory_info().rss)

    def exposition(self) -> bytes:
        """All numbers in Prometheus's text format."""
        self.measure()
        folder = os.environ.get(SHARED)
        if folder is None:
            return generate_latest(self._own)
        forget_dead(Path(folder))
        everybody = CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody, folder)
        return generate_latest(everybody)


def forget_dead(folder: Path) -> None:
    """Drop what the gauges of workers said that are gone; their counts stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            multiprocess.mark_process_dead(pid, str(folder))
