"""What every request passes first: keys, rates, sizes, time; and what is logged of it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from httpx import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Scope_

from relgnn.errors import InputError
from relgnn.serving.app import create_app
from relgnn.serving.edge import OPEN, Edge
from relgnn.serving.keys import KeyFile, Scope
from relgnn.serving.logs import LOGGER, log_lines, place_of
from relgnn.serving.metrics import Metrics
from relgnn.serving.service import Service
from relgnn.serving.settings import Settings
from tests.serving.conftest import HERE, Open

QUESTION = {"relation": "born", "head": "Ada Abel"}
VERDICT = {"head": "e1", "relation": "knows", "tail": "e9", "verdict": "accept"}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged."""
    loggers = [LOGGER, logging.getLogger("uvicorn"), logging.getLogger("asyncio")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    stream = io.StringIO()
    log_lines(stream)
    yield stream
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_what_it_was_made_for(open_service: Open, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    reader, writer, admin = (file.add(scope.name, scope) for scope in Scope)
    client = open_service(keys=file.path)
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/page.css"):
        assert client.get(path).status_code == 200
    for headers in ({}, bearer("x"), {"Authorization": f"Basic {reader}"}, bearer(reader + "x")):
        refused = client.post("/v1/predict", json=QUESTION, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/v1/nothing", headers=headers).status_code == 401
    status = {
        name: (
            client.post("/v1/predict", json=QUESTION, headers=bearer(key)).status_code,
            client.post("/v1/feedback", json=VERDICT, headers=bearer(key)).status_code,
            client.get("/metrics", headers=bearer(key)).status_code,
        )
        for name, key in (("read", reader), ("write", writer), ("admin", admin))
    }
    assert status == {"read": (200, 403, 403), "write": (200, 200, 403), "admin": (200,) * 3}
    by = client.post("/v1/feedback", json=VERDICT, headers=bearer(writer)).json()["by"]
    assert by == "write"
    file.revoke("read")
    assert client.post("/v1/predict", json=QUESTION, headers=bearer(reader)).status_code == 401


def test_keys_must_be_there(served_run: Path, vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no key"):
        create_app(Settings(run=served_run, vectors=vectors, keys=tmp_path / "none.json"))


def test_a_damaged_file_of_keys_is_no_mistake_of_whoever_asks(
    tmp_path: Path, lines: io.StringIO
) -> None:
    file, sent = KeyFile(tmp_path / "keys.json"), []
    key = file.add("ann", Scope.read)

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        raise AssertionError("somebody was let in")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message.get("status") or message["body"].decode())

    edge = Edge(app, Settings(run=tmp_path, keys=file.path), Metrics(), {})
    file.path.write_text("{")
    headers = [(b"authorization", f"Bearer {key}".encode())]
    told = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}
    asyncio.run(edge(told, receive, send))
    assert sent[0] == 503 and "ask again later" in sent[1] and "keys" not in sent[1]
    damaged, _ = map(json.loads, lines.getvalue().splitlines())
    assert (damaged["event"], damaged["level"]) == ("damaged", "error")
    assert str(tmp_path) not in lines.getvalue()


def test_too_many_requests_are_told_when_to_come_again(open_service: Open, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    ann, bob = file.add("ann", Scope.read), file.add("bob", Scope.read)
    client = open_service(keys=file.path, rate=0.01, burst=2)
    answers = [client.get("/v1/run", headers=bearer(ann)) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 90
    assert client.get("/v1/run", headers=bearer(bob)).status_code == 200
    assert client.get("/healthz").status_code == 200
    open_to_all = open_service(rate=0.01, burst=1)
    assert [open_to_all.get("/v1/run").status_code for _ in range(2)] == [200, 429]


class Stuck:
    """Work that does not end before the test says so."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        self.service: Service

    def __call__(self, service: Service, jobs: Sequence[object]) -> list[object]:
        self.service = service
        self.begun.set()
        assert self.open.wait(60)
        return [[] for _ in jobs]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    stuck = Stuck()
    monkeypatch.setattr(Service, "_work", lambda service, jobs: stuck(service, jobs))
    yield stuck
    stuck.open.set()


def test_a_full_queue_is_told_and_what_waits_is_finished(open_service: Open, stuck: Stuck) -> None:
    client = open_service(queue=2, timeout_s=60)
    with ThreadPoolExecutor(3) as pool:

        def ask() -> Future[Response]:
            return pool.submit(client.post, "/v1/predict", json=QUESTION)

        first = ask()
        assert stuck.begun.wait(60)
        others = [ask(), ask()]
        while len(stuck.service.quick) < 2:
            pass
        full = client.post("/v1/predict", json=QUESTION)
        assert full.status_code == 429
        assert full.headers["retry-after"] == "1" and "Retry-After" in full.json()["error"]
        stuck.open.set()
        assert [one.result().status_code for one in (first, *others)] == [200] * 3
    assert 'relgnn_refused_total{reason="queue"}' in client.get("/metrics").text


def test_what_takes_too_long_is_given_up(open_service: Open, stuck: Stuck) -> None:
    client = open_service(timeout_s=0.05)
    answer = client.post("/v1/predict", json=QUESTION)
    assert answer.status_code == 504 and "not done in time" in answer.json()["error"]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("ending", ["%0A", "%0a", "%00", "%0D", "%7F", "/", "x"])
def test_no_spelling_of_a_path_goes_round_the_keys(
    ending: str, open_service: Open, tmp_path: Path
) -> None:
    file = KeyFile(tmp_path / "keys.json")
    reader = file.add("reader", Scope.read)
    client = open_service(keys=file.path)
    paths = [path for path in client.get("/openapi.json").json()["paths"] if path not in OPEN]
    assert "/metrics" in paths and "/v1/feedback" in paths
    for path in paths:
        for ask in (client.get, client.post):
            assert ask(f"{path}{ending}").status_code in (401, 404), path
    for path, ask in (("/metrics", client.get), ("/v1/feedback", client.post)):
        assert ask(f"{path}{ending}", headers=bearer(reader)).status_code in (403, 404)
    assert client.get("/nothing").status_code == 401
    elsewhere = open_service()
    host = {"host": "evil.example"}
    assert elsewhere.get(f"/metrics{ending}", headers=host).status_code in (403, 404)


def test_who_has_no_key_keeps_nobody_waiting(served_run: Path) -> None:
    """Requests to what is open to all neither count as under way nor have a body that is read."""
    bodies, admitted = [], []

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        bodies.append((await receive())["body"])
        admitted.append(edge.admitted)
        await send({"type": "http.response.start", "status": 405})
        await send({"type": "http.response.body", "body": b""})

    async def never() -> Message:
        raise AssertionError("the body was asked for")

    async def sent(message: Message) -> None:
        pass

    async def little() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    edge = Edge(app, Settings(run=served_run), Metrics(), {})
    told = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(edge({**told, "path": "/healthz"}, never, sent))
    asyncio.run(edge({**told, "path": "/v1/predict"}, little, sent))
    assert bodies == [b"", b"{}"] and admitted == [0, 1] and edge.admitted == 0


@pytest.mark.parametrize("answered", [False, True])
def test_whoever_leaves_takes_their_request_along(tmp_path: Path, answered: bool) -> None:
    """One who leaves before the answer begins: else nobody's requests would fill the queues."""
    left, ended, sent = asyncio.Event(), [], []
    messages = iter([{"type": "http.request", "body": b"{}", "more_body": False}])

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"{}"
        if answered:
            await send({"type": "http.response.start", "status": 200})
        left.set()
        try:
            await asyncio.sleep(0 if answered else 60)
        finally:
            ended.append(edge.admitted)
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        if message := next(messages, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message.get("status", message["type"]))

    edge = Edge(app, Settings(run=tmp_path), Metrics(), {})
    told = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(edge({**told, "path": "/v1/predict"}, receive, send))
    assert sent == [200 if answered else 499, "http.response.body"]
    assert ended == [1] and edge.admitted == 0


def test_half_a_body_is_no_request(tmp_path: Path) -> None:
    begun = iter([{"type": "http.request", "body": b"{}", "more_body": True}])
    sent: list[int] = []

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        raise AssertionError("it was taken for a whole one")

    async def receive() -> Message:
        return next(begun, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message.get("status", 0))

    edge = Edge(app, Settings(run=tmp_path), Metrics(), {})
    told = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(edge({**told, "path": "/v1/predict"}, receive, send))
    assert sent == [499, 0]


def test_more_than_a_worker_has_at_once_is_refused(open_service: Open, stuck: Stuck) -> None:
    client = open_service(in_flight=1, timeout_s=60)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/predict", json=QUESTION)
        assert stuck.begun.wait(60)
        assert client.get("/v1/run").status_code == 429
        assert client.get("/readyz").status_code == 200
        stuck.open.set()
        assert first.result().status_code == 200


def test_large_bodies_are_not_read(open_service: Open) -> None:
    client = open_service(max_body=1000)
    told = client.post("/v1/extract", content=b" " * 1001)
    assert told.status_code == 413 and "larger than 1000 bytes" in told.json()["error"]

    def chunks() -> Iterator[bytes]:
        yield from (b" " * 400 for _ in range(4))

    assert client.post("/v1/extract", content=chunks()).status_code == 413
    fits = json.dumps(QUESTION).ljust(1000)
    answer = client.post("/v1/predict", content=fits, headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_nobody_elses_page_may_ask_unless_it_is_allowed(open_service: Open) -> None:
    ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    for allowed in (False, True):
        client = open_service(cors=("https://a.example",) if allowed else ())
        answer = client.options("/v1/predict", headers=ask)
        assert (answer.status_code == 200) == allowed
        assert ("access-control-allow-origin" in answer.headers) == allowed
        got = client.get("/healthz", headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in got.headers


def test_a_mistake_of_ours_leaves_neither_trace_nor_message(
    open_service: Open, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(service: Service, jobs: object) -> None:
        raise RuntimeError("Ada Abel's secret")

    monkeypatch.setattr(Service, "_work", broken)
    answer = open_service().post("/v1/predict", json=QUESTION)
    assert answer.status_code == 500 and answer.json().keys() == {"error"}
    assert "secret" not in answer.text and "RuntimeError" not in answer.text
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    [failed] = [line for line in logged if line["event"] == "failed"]
    assert failed["request"] == answer.headers["x-request-id"]
    assert failed["error"].startswith("RuntimeError at test_edge.py:")
    assert "secret" not in lines.getvalue() and "Traceback" not in lines.getvalue()


def test_logs_hold_neither_texts_nor_keys(
    open_service: Open, lines: io.StringIO, tmp_path: Path
) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key = file.add("ann", Scope.write)
    client = open_service(keys=file.path)
    client.post("/v1/extract", json={"text": "Ada Abel was born in Cork."}, headers=bearer(key))
    client.get("/v1/entities", params={"q": "Abel"}, headers=bearer(key))
    client.post("/v1/predict", json={"relation": "Abel", "head": "Cork"}, headers=bearer(key))
    client.get("/v1/Abel", headers=bearer(key + "x"))
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    told = [(line["route"], line["status"]) for line in logged if line["event"] == "request"]
    assert told == [
        ("/v1/extract", 200), ("/v1/entities", 200), ("/v1/predict", 422), ("other", 401)
    ]  # fmt: skip
    assert {line["key"] for line in logged} == {*file.keys(), None}
    for secret in ("Abel", "Cork", "born", key, key.split("_", 2)[2], "testclient"):
        assert secret not in lines.getvalue()
    assert all(line["ms"] >= 0 and line["request"] for line in logged)


def test_messages_of_other_loggers_are_masked(lines: io.StringIO) -> None:
    try:
        raise ValueError("me@x.org")
    except ValueError as error:
        logging.getLogger("uvicorn.error").error("from me@x.org", exc_info=True)
        assert place_of(error).startswith("ValueError at test_edge.py:")
    line = json.loads(lines.getvalue())
    assert line["event"] == "from [mail]" and line["error"].startswith("ValueError at")
    assert "x.org" not in lines.getvalue()


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("LOCALHOST", 200), ("127.0.0.1:1", 200), ("[::1]:8000", 200),
     ("evil.example", 403), ("localhost.evil.example", 403), ("[::1].evil", 403), ("", 403)],
)  # fmt: skip
def test_without_keys_a_page_of_another_site_cannot_ask(
    client: TestClient, open_service: Open, tmp_path: Path, host: str, status: int
) -> None:
    asked = client.post("/v1/predict", json=QUESTION, headers={"host": host})
    assert asked.status_code == status
    assert client.get("/healthz", headers={"host": host}).status_code == 200
    file = KeyFile(tmp_path / "keys.json")
    headers = bearer(file.add("ann", Scope.read)) | {"host": host}
    keyed = open_service(keys=file.path).post("/v1/predict", json=QUESTION, headers=headers)
    assert keyed.status_code == 200


def test_a_run_without_a_loop_takes_no_texts_and_no_feedback(
    own_config: Path, tmp_path: Path
) -> None:
    from relgnn.config import load_config
    from relgnn.loop.run import run

    run(load_config(own_config, ["loop=null", "train.epochs=1"]), tmp_path / "run")
    with TestClient(create_app(Settings(run=tmp_path / "run")), HERE) as client:
        assert client.post("/v1/predict", json=QUESTION).status_code == 200
        text = client.post("/v1/extract", json={"text": "Ada Abel was born in Cork."})
        assert text.status_code == 422 and "trained without a loop" in text.json()["error"]
        assert client.post("/v1/feedback", json=VERDICT).status_code == 422
        facts = client.get("/v1/run").json()
        assert (facts["reads_texts"], facts["takes_feedback"]) == (False, False)


def test_every_path_that_waits_is_known_by_its_lane(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    lanes = Service.lane_of.fget  # type: ignore[attr-defined]
    known = lanes(SimpleNamespace(quick=1, slow=2, writer=3, why=4, look=5))
    assert known.keys() <= paths.keys()
    assert {path for path in paths if "post" in paths[path]} <= known.keys()
