"""Processes: a worker that is killed loses nothing that it acknowledged, and is replaced."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from uvicorn.config import STARTUP_FAILURE

from relgnn.errors import InputError, MachineError
from relgnn.loop.ledger import Ledger
from relgnn.serving import service, share, workers
from relgnn.serving.metrics import SHARED, forget_dead
from relgnn.serving.settings import Settings
from relgnn.serving.workers import Factory, counted_together, listening, serve, server_config
from tests.answers import Call, require_one_line
from tests.conftest import ROOT
from tests.loop.toy import add_verdict


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"content-type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def running(run: Path, workers: int, ends: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`relgnn serve` on a free port; stopped afterwards, if it is not gone by then."""
    command = [
        sys.executable, "-m", "relgnn", "serve", str(run), "--port", "0", "--workers", str(workers)
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        assert line["event"] == "listening" and line["workers"] == workers
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reader.start()
        try:
            yield process, line["port"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(300) == ends
            reader.join()
        assert all(json.loads(one)["level"] != "error" for one in lines)


def serving(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Workers: children that run our server, not multiprocessing's own helper."""
    children = psutil.Process(process.pid).children()
    return [one for one in children if "spawn_main" in " ".join(one.cmdline())]


class Askers:
    """Threads that give feedback until told to stop, and what was acknowledged to them."""

    def __init__(self, port: int) -> None:
        self.port, self.stop = port, threading.Event()
        self.acknowledged: list[str] = []
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self._tell, args=(i,)) for i in range(4)]
        for one in self.threads:
            one.start()

    def _tell(self, asker: int) -> None:
        said = {"head": "e1", "relation": "born", "tail": "e20", "verdict": "accept"}
        number = 0
        while not self.stop.is_set():
            reason = f"asker {asker} says {(number := number + 1)}"
            try:
                status, _ = ask(self.port, "POST", "/v1/feedback", said | {"reason": reason})
            except (OSError, http.client.HTTPException):
                continue  # the worker died under it: nobody was told that it is recorded
            if status == 200:
                with self.changed:
                    self.acknowledged.append(reason)
                    self.changed.notify()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= count, 120)

    def end(self, run: Path) -> None:
        """Stop; everything that was acknowledged is in the ledger, whole, and once."""
        self.stop.set()
        for one in self.threads:
            one.join()
        kept = Counter(line["reason"] for line in Ledger(run / "ledger").verdicts())
        assert all(kept[reason] == 1 for reason in self.acknowledged)


def test_no_acknowledged_verdict_is_lost_with_a_killed_process(
    own_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(own_run, tmp_path / "run"))
    with running(run, workers=1, ends=-signal.SIGKILL) as (process, port):
        assert ask(port, "GET", "/readyz")[0] == 200
        text = {"text": "Ada Abel lives in Genoa."}
        assert ask(port, "POST", "/v1/extract", text)[0] == 200
        askers = Askers(port)
        askers.wait_for(40)
        process.kill()
        askers.end(run)
    add_verdict(Ledger(run / "ledger"), "e1", "born", "e21", "reject", "later")
    assert Ledger(run / "ledger").verdicts()[-1]["by"] == "later"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_loses_nothing(own_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(own_run, tmp_path / "run"))
    with running(run, workers=2) as (process, port):
        askers = Askers(port)
        askers.wait_for(40)
        workers = serving(process)
        assert len(workers) == 2
        workers[0].kill()
        askers.wait_for(len(askers.acknowledged) + 20)
        while workers[0].is_running() or len(serving(process)) < 2:
            assert process.poll() is None
        askers.end(run)
        assert ask(port, "GET", "/readyz")[0] == 200
        assert "relgnn_verdicts_total" in ask(port, "GET", "/metrics")[1].decode()


def test_what_cannot_be_served_is_one_line(call: Call, own_run: Path, tmp_path: Path) -> None:
    require_one_line(call("serve", tmp_path), 2, "is no run folder")
    require_one_line(call("serve", own_run, "--host", "0.0.0.0"), 2, "give --keys FILE")
    none = tmp_path / "keys.json"
    require_one_line(call("serve", own_run, "--keys", none), 2, "holds no key")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        require_one_line(call("serve", own_run, "--port", port), 3, "cannot listen there")


def test_a_worker_that_cannot_begin_ends_its_parent(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Factory(Settings(run=tmp_path))()
    with pytest.raises(SystemExit) as left:
        Factory(Settings(run=tmp_path, workers=2))()
    assert left.value.code == 3


@pytest.mark.parametrize("status", [STARTUP_FAILURE, -signal.SIGTERM])
def test_a_service_that_could_not_begin_has_failed(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Together:
        def __init__(self, *told: object) -> None:
            self.processes = [SimpleNamespace(exitcode=-signal.SIGTERM)]

        def run(self) -> None:
            self.processes.append(SimpleNamespace(exitcode=status))

    monkeypatch.setattr(workers, "Multiprocess", Together)
    monkeypatch.setattr(workers, "prepared", lambda settings: settings)
    settings = Settings(run=tmp_path, port=0, workers=2)
    if status == STARTUP_FAILURE:
        with pytest.raises(MachineError, match="a worker could not begin"):
            serve(settings)
    else:
        serve(settings)


def test_a_policy_is_read_before_any_worker_begins(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("private: [")
    with pytest.raises(InputError, match=r"policy\.yaml"):
        workers.prepared(Settings(run=tmp_path, policy=policy))


def test_the_parent_of_several_workers_stays_small() -> None:
    code = (
        "import sys, relgnn.cli, relgnn.commands.serve, relgnn.serving.workers\n"
        "from relgnn.serving.settings import Settings\n"
        "sys.exit('torch' in sys.modules or 'fastapi' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_settings_reach_the_server(own_run: Path) -> None:
    config = server_config(Settings(run=own_run, workers=3, drain_s=7))
    assert (config.workers, config.timeout_graceful_shutdown, config.access_log) == (3, 7, False)
    with (
        pytest.raises(MachineError, match="cannot listen there"),
        listening(Settings(run=own_run, host="203.0.113.1")),
    ):
        pass
    with pytest.raises(InputError, match="give --keys FILE"):
        serve(Settings(run=own_run, host="203.0.113.1"))
    assert Settings(run=own_run, rate=10, burst=3, workers=4).rate_here == 2.5
    assert Settings(run=own_run, rate=10, burst=3, workers=4).burst_here == 1


def test_lanes_share_the_time_that_a_worker_has_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waited = [100.0], []

    class Stuck:
        def close(self, timeout: float) -> None:
            waited.append(timeout)
            now[0] += timeout

    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    busy = SimpleNamespace(lanes=[Stuck()] * 3, settings=SimpleNamespace(drain_s=5.0))
    service.Service.close(busy)  # type: ignore[arg-type]
    assert waited == [0, 0, 0, 5.0, 0.0, 0.0]


def test_workers_count_together_and_the_dead_are_forgotten(own_run: Path) -> None:
    with counted_together(Settings(run=own_run)):
        assert SHARED not in os.environ
    with counted_together(Settings(run=own_run, workers=2)):
        folder = Path(os.environ[SHARED])
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        for pid in (os.getpid(), gone.pid):
            (folder / f"gauge_livesum_{pid}.db").touch()
        forget_dead(folder)
        assert [path.name for path in folder.iterdir()] == [f"gauge_livesum_{os.getpid()}.db"]
    assert not folder.exists()


def test_vectors_are_written_once_and_not_into_the_run(
    own_run: Path, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_run not in vectors.parents and vectors.is_file()
    monkeypatch.setattr(share, "open_run", lambda run: pytest.fail("the file is there already"))
    assert share.shared_vectors(own_run) == vectors
    other = Path(shutil.copytree(own_run, tmp_path / "run"))
    assert share.shared_vectors(other) == vectors
    with (other / "environment.json").open("a") as file:
        file.write(" ")
    monkeypatch.undo()
    assert share.shared_vectors(other) != vectors
