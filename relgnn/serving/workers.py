"""The processes of the service: one socket, workers that are replaced when they die."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from relgnn.errors import InputError, MachineError, RelgnnError
from relgnn.serving.logs import event, log_lines
from relgnn.serving.settings import LOOPBACK, Settings

KEEP_ALIVE_S = 30
BACKLOG = 2048
SLOWEST_START_S = 120
"""A worker that has not answered its parent for so long is replaced; it loads before it answers."""


@dataclass(frozen=True)
class Factory:
    """Makes the application in a worker; light, because it travels there as it is."""

    settings: Settings

    def __call__(self) -> Any:
        """The application, or the end of a process that cannot make it."""
        log_lines()
        from relgnn.serving.app import create_app
        from relgnn.training import quiet_bars

        try:
            with quiet_bars():  # a progress bar is no line of JSON
                return create_app(self.settings)
        except RelgnnError as error:
            if self.settings.workers == 1:
                raise
            # the status that tells the parent not to try again
            event("not started", logging.ERROR, reason=str(error))
            sys.exit(STARTUP_FAILURE)


def serve(settings: Settings) -> None:
    """Serve until told to stop (SIGTERM or Ctrl-C); requests under way are finished first.

    Raises:
        InputError: the run cannot be opened, there are no keys, or everybody could ask.
        MachineError: the port is taken, or one of several workers could not begin.
    """
    log_lines()
    if settings.keys is None and settings.host not in LOOPBACK:
        raise InputError(
            f"--host {settings.host}: other machines could ask without a key; give --keys FILE "
            "(`relgnn serve-key add` makes one), or listen on 127.0.0.1"
        )
    with listening(settings) as listener, counted_together(settings):
        settings = prepared(settings)
        config = server_config(settings)
        host, port = listener.getsockname()[:2]
        event("listening", host=host, port=port, workers=settings.workers, keys=bool(settings.keys))
        if settings.workers == 1:
            uvicorn.Server(config).run([listener])
        else:
            together = Multiprocess(config, [listener])
            together.run()
            if any(one.exitcode == STARTUP_FAILURE for one in together.processes):
                raise MachineError("a worker could not begin; the event `not started` says why")
        event("stopped")


def server_config(settings: Settings) -> uvicorn.Config:
    """How the server runs: plain HTTP/1.1, small headers, nothing about itself."""
    return uvicorn.Config(
        Factory(settings),
        factory=True,
        workers=settings.workers,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        timeout_worker_healthcheck=SLOWEST_START_S,
        h11_max_incomplete_event_size=16 * 1024,
    )


def prepared(settings: Settings) -> Settings:
    """The settings with the files of the runs' vectors, once keys and policy are found to be some.

    The parent of several workers has it made by another process, so that nothing large stays in
    its memory.
    """
    if settings.workers == 1:
        return _prepare(settings)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_prepare, (settings,))


def _prepare(settings: Settings) -> Settings:
    from relgnn.audit.policy import load_policy
    from relgnn.serving.keys import require_keys
    from relgnn.serving.share import shared_vectors

    if settings.keys is not None:
        require_keys(settings.keys)
    if settings.policy is not None:
        load_policy(settings.policy)  # here, where a mistake in it ends the command as one
    vectors = {"vectors": shared_vectors(settings.run)}
    if settings.compare is not None:
        vectors["compare_vectors"] = shared_vectors(settings.compare)
    return settings.model_copy(update=vectors)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket at the settings' address.

    Raises:
        MachineError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            # from now on whoever comes waits for the workers
            listener.listen(BACKLOG)
        except OSError as error:
            raise MachineError(
                f"--host {settings.host} --port {settings.port}: cannot listen there "
                f"({error.strerror or error}); give another port, or 0 for a free one"
            ) from None
        listener.set_inheritable(True)
        yield listener


@contextmanager
def counted_together(settings: Settings) -> Iterator[None]:
    """A folder in which several workers keep their metrics, for as long as they run."""
    if settings.workers == 1:
        yield
        return
    from relgnn.serving.metrics import SHARED

    folder = tempfile.mkdtemp(prefix="relgnn-metrics-")
    os.environ[SHARED] = folder
    try:
        yield
    finally:
        del os.environ[SHARED]
        shutil.rmtree(folder, ignore_errors=True)
