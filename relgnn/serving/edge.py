"""What every request passes before it is understood: keys, limits, time, logs."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relgnn.audit.guard import Private
from relgnn.errors import RelgnnError
from relgnn.serving import keys
from relgnn.serving.batching import Busy, Closed, Lane
from relgnn.serving.damage import own_files
from relgnn.serving.limits import Buckets
from relgnn.serving.logs import event, place_of
from relgnn.serving.metrics import Metrics
from relgnn.serving.settings import LOOPBACK, Settings

ANONYMOUS = "anonymous"
MEASURE_EVERY = 5.0
"""Seconds between two looks at the memory."""

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Of our pages: files of this service alone, no inline script or style, no text parsed as HTML."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Refused(Exception):
    """A request that goes no further.

    Args:
        status: of the answer.
        reason: one word, for the metrics.
        error: one line for whoever asked.
        headers: further ones.
    """

    def __init__(
        self, status: int, reason: str, error: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status, self.reason, self.error, self.headers = status, reason, error, headers or {}


OPEN = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
"""Paths that nobody needs a key for, beside the explorer's files."""


def too_many(reason: str, seconds: float = 1.0) -> Refused:
    """429: ask again in so many seconds."""
    error = "too many requests; ask again after the seconds of the header Retry-After"
    return Refused(429, reason, error, {"Retry-After": str(max(1, math.ceil(seconds)))})


def gone() -> Refused:
    """499, as proxies count it: whoever asked is not there any more, and hears nothing of it."""
    return Refused(499, "gone", "whoever asked did not wait for the answer")


def refusal_of(error: Exception) -> Refused | None:
    """What is told of an error that we know; None of a mistake of ours."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, Busy):
        return too_many("queue")
    if isinstance(error, Closed):
        return Refused(503, "closing", "the service is stopping; ask again", {"Retry-After": "1"})
    if isinstance(error, TimeoutError):
        return Refused(504, "timeout", "not done in time; ask for less, or again later")
    if isinstance(error, Private):
        return Refused(403, "private", str(error))
    if isinstance(error, RelgnnError):
        if error.exit_code == 2:
            return Refused(422, "input", str(error))
        # its message names files of the machine
        return Refused(503, "machine", "the machine failed; nothing was recorded, ask again later")
    return None


def needed(path: str) -> keys.Scope | None:
    """What a key must be allowed to do for a path; None where nobody needs one.

    A path that is not known needs a key as well.
    """
    if path in OPEN or path.startswith("/static/"):
        return None
    if path.startswith(("/metrics", "/v1/audit")):
        return keys.Scope.admin
    return keys.Scope.write if path.startswith("/v1/feedback") else keys.Scope.read


class Edge:
    """ASGI around the application.

    Args:
        app: understands requests.
        settings: limits.
        metrics: counts.
        lanes: of paths whose requests wait in one. Where it is full, a request is refused before
            anybody takes the time to understand it.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        lanes: Mapping[str, Lane[Any, Any]],
    ) -> None:
        self.app, self.settings, self.metrics, self.lanes = app, settings, metrics, lanes
        self.keys = None if settings.keys is None else keys.require_keys(settings.keys)
        self.buckets = Buckets(settings.rate_here, settings.burst_here)
        self.busy, self.admitted, self._measured = 0, 0, 0.0
        self._process, self._count = secrets.token_hex(6), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, f"{self._process}-{next(self._count)}")
        start = time.perf_counter()
        self.busy += 1
        self.metrics.in_flight.set(self.busy)
        try:
            await self._admit(scope, receive, answer)
        except Exception as error:
            await self._fail(error, answer)
        finally:
            self.busy -= 1
            self.metrics.in_flight.set(self.busy)
            self._tell(scope, answer, time.perf_counter() - start)

    async def _admit(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        path, state = scope["path"], scope.setdefault("state", {})
        state["by"] = ANONYMOUS
        if not path.isprintable():  # a router may take "/metrics" and a line break for "/metrics"
            raise Refused(
                404, "path", "there is nothing at this path; GET /docs tells what there is"
            )
        scope_needed = needed(path)
        if scope_needed is None:
            async with asyncio.timeout(self.settings.timeout_s):
                # nothing there takes a body, and who sends none keeps nobody waiting
                await self.app(scope, _again(b"", receive), answer.send)
            return
        key = self._key(scope, scope_needed)
        if key is not None:
            state["by"], answer.key = key.name, key.id
        client = scope.get("client")
        wait = self.buckets.take(key.id if key else f"address {client[0] if client else ''}")
        if wait:
            raise too_many("rate", wait)
        if self.admitted >= self.settings.in_flight:
            raise too_many("in_flight")
        lane = self.lanes.get(path)
        if lane is not None and lane.full:
            raise Busy
        self.admitted += 1
        try:
            async with asyncio.timeout(self.settings.timeout_s) as limit:
                body = await self._body(scope, receive)
                leaving = asyncio.create_task(answer.end_when_gone(receive, limit))
                try:
                    await self.app(scope, _again(body, receive), answer.send)
                finally:
                    leaving.cancel()
        except TimeoutError:
            if answer.gone:
                raise gone() from None
            raise
        finally:
            self.admitted -= 1

    def _key(self, scope: Scope, wanted: keys.Scope) -> keys.Key | None:
        if self.keys is None:
            # else a page of another site, whose name was made to lead here, could ask (DNS
            # rebinding): a browser cannot be made to lie about that name
            if _named(scope) not in LOOPBACK:
                raise Refused(
                    403, "host", "without keys only this machine may ask; call it localhost"
                )
            return None
        kind, _, written = _header(scope, b"authorization").partition(" ")
        with own_files():
            key = self.keys.find(written.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise Refused(
                401, "key", "give a key that is known here: Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if key.scope < wanted:
            raise Refused(
                403, "scope", f"the key may {key.scope.name}; this needs {wanted.name}",
                {"WWW-Authenticate": 'Bearer error="insufficient_scope"'},
            )  # fmt: skip
        return key

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, which is never larger than what is allowed."""
        limit = self.settings.max_body
        told = _header(scope, b"content-length")
        parts, size, more = [], int(told) if told.isdecimal() else 0, True
        if size <= limit:
            size = 0
            while more and size <= limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise gone()
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > limit:
            error = f"the body is larger than {limit} bytes; send less"
            raise Refused(413, "size", error, {"Connection": "close"})
        return b"".join(parts)

    async def _fail(self, error: Exception, answer: _Answer) -> None:
        refused = refusal_of(error)
        if refused is None:
            event("failed", logging.ERROR, request=answer.request, error=place_of(error))
            told = f"internal error; the request's id is {answer.request}"
            refused = Refused(500, "internal", told)
        self.metrics.refused.labels(refused.reason).inc()
        if answer.status == 0:
            await answer.problem(refused)

    def _tell(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
        self.metrics.requests.labels(route, method, str(answer.status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        now = time.monotonic()
        if now - self._measured > MEASURE_EVERY:
            self._measured = now
            self.metrics.measure()
        event(
            "request", request=answer.request, method=method, route=route, status=answer.status,
            ms=round(1000 * seconds, 1), key=answer.key,
        )  # fmt: skip


class _Answer:
    """Sends an answer with our headers, and remembers its status; 0 while nothing is sent."""

    def __init__(self, send: Send, request: str) -> None:
        self._send, self.request, self.status = send, request, 0
        self.key: str | None = None
        self.gone = False

    async def end_when_gone(self, receive: Receive, limit: asyncio.Timeout) -> None:
        """Let the time of a request be over when whoever asked leaves before the answer begins."""
        left = (await receive())["type"] == "http.disconnect"
        if left and self.status == 0 and not limit.expired():
            self.gone = True
            limit.reschedule(asyncio.get_running_loop().time())

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [(b"x-request-id", self.request.encode()), *_HEADERS]
            given = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in own if pair[0] not in given]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)

    async def problem(self, refused: Refused) -> None:
        body = problem(refused.error)
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        headers |= refused.headers
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": body})


def problem(error: str) -> bytes:
    """The JSON of what is wrong, one line, ASCII."""
    return json.dumps({"error": " ".join(error.split())}).encode()


def _header(scope: Scope, name: bytes) -> str:
    found: Any = next((value for key, value in scope["headers"] if key == name), b"")
    return str(found.decode("latin-1"))


def _named(scope: Scope) -> str:
    """What a request calls this machine, without the port."""
    host = _header(scope, b"host").lower()
    name, port = (host, "") if host.endswith("]") else host.rpartition(":")[::2]
    named = name if port.isdecimal() else host
    return named[1:-1] if named.startswith("[") and named.endswith("]") else named


def _again(body: bytes, receive: Receive) -> Receive:
    """Hands out a body that was read already, and then what else comes."""
    waiting = [body]

    async def read() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return read
