"""The application: routes, health, metrics, documentation; every failure is one line of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.types import ASGIApp

from relgnn import __version__
from relgnn.errors import RelgnnError
from relgnn.serving import schemas
from relgnn.serving.batching import Busy, Closed
from relgnn.serving.edge import Edge, problem, refusal_of
from relgnn.serving.metrics import Metrics
from relgnn.serving.pages import docs_page
from relgnn.serving.routes import PROBLEMS, routes
from relgnn.serving.service import Service
from relgnn.serving.settings import Settings
from relgnn.training import quiet_bars

STATIC = Path(__file__).parent / "static"
"""The explorer: `index.html` is what `/` shows, the other files are under `/static/`."""


class _Files(StaticFiles):
    """Files that a browser keeps, and asks about before it uses them again."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or that it is still the same."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def create_app(settings: Settings) -> ASGIApp:
    """The service of a run as an ASGI application.

    Raises:
        InputError: the run cannot be opened, or the file of keys has none.
    """
    metrics = Metrics()
    service = Service(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with quiet_bars():
            service.start()
            yield
            await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="relgnn",
        version=__version__,
        description=f"Link prediction and relation extraction over {service.graph.name}.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _handle_errors(app, metrics)
    app.include_router(routes(service))
    _add_operations(app, service, metrics)
    _describe_keys(app)
    edge: ASGIApp = Edge(app, settings, metrics, service.lane_of)
    if settings.cors:
        edge = CORSMiddleware(
            edge, allow_origins=settings.cors, allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"], expose_headers=["Retry-After"],
        )  # fmt: skip
    return edge


def _add_operations(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/healthz", response_model=schemas.Health, tags=["operate"])
    async def healthz() -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "ok"})

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": schemas.Health, "description": "Loading or stopping."}
    }

    @app.get("/readyz", response_model=schemas.Health, responses=not_ready, tags=["operate"])
    async def readyz() -> Response:
        """Tell whether requests are worked off."""
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)

    said = {401: PROBLEMS[401], 403: PROBLEMS[403], 429: PROBLEMS[429]}

    @app.get("/metrics", response_class=Response, responses=said, tags=["operate"])  # type: ignore[arg-type]
    async def exposition() -> Response:
        """Metrics in Prometheus's format."""
        metrics.waiting.set(service.withholding.waiting)
        return Response(metrics.exposition(), headers={"content-type": TEXT_FORMAT})

    @cache
    def page() -> str:
        return docs_page(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page())

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", _Files(directory=STATIC))


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    async def known(request: Request, error: Exception) -> Response:
        refused = refusal_of(error)
        assert refused is not None
        metrics.refused.labels(refused.reason).inc()
        return _problem(refused.status, refused.error, dict(refused.headers))

    async def http(request: Request, error: Exception) -> Response:
        error = cast(HTTPException, error)
        return _problem(error.status_code, str(error.detail), dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> Response:
        return _problem(422, what_is_wrong(cast(RequestValidationError, error).errors()))

    async def unknown(request: Request, error: Exception) -> Response:
        # what it was is told by the log, without its message
        return _problem(500, "internal error; the header x-request-id names the request")

    handlers: dict[type[Exception], Callable[[Request, Exception], Any]] = {
        HTTPException: http, RequestValidationError: invalid, Exception: unknown,
        RelgnnError: known, Busy: known, Closed: known,
    }  # fmt: skip
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _problem(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return Response(problem(error), status, headers, "application/json")


def what_is_wrong(errors: Any) -> str:
    """The first thing that is wrong with a request, where it is, and how much else is."""
    first, more = errors[0], len(errors) - 1
    if first["type"] == "json_invalid":
        return "request: the body is no JSON"
    if first["type"] == "model_attributes_type":
        return "request: send a JSON object, with the header Content-Type: application/json"
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    said = first["msg"].removeprefix("Value error, ")
    return f"{where or 'request'}: {said}" + (f"; {more} more" if more else "")


def _describe_keys(app: FastAPI) -> None:
    """Say in the OpenAPI document that /v1 and /metrics take a key."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = plain()
            found.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "Where keys are set."}
            }
            for path, methods in found["paths"].items():
                if path.startswith("/v1/") or path == "/metrics":
                    for operation in methods.values():
                        operation["security"] = [{"key": []}, {}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
