"""A fuzzer that reads our own OpenAPI document: nothing that it sends gets a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from relgnn.serving.app import create_app
from relgnn.serving.settings import Settings

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance, negative_data_rejection, unsupported_method,
]  # fmt: skip
EXAMPLES = 20
"""Requests of each operation and kind."""


@pytest.fixture(scope="module")
def schema(served_run: Path, vectors: Path) -> Iterator[schemathesis.BaseSchema]:
    app = create_app(Settings(run=served_run, vectors=vectors, rate=1e6, burst=10**6))

    async def started(scope: Scope, receive: Receive, send: Send) -> None:
        """The application, which the fuzzer would start again and again."""
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})

    with TestClient(app):
        yield schemathesis.openapi.from_asgi("/openapi.json", started)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_breaks_the_service(
    schema: schemathesis.BaseSchema, mode: GenerationMode
) -> None:
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        takes = operation.definition.raw.keys() & {"parameters", "requestBody"}
        if mode is GenerationMode.NEGATIVE and not takes:
            continue  # there is nothing to get wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, database=None, phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def fuzz(case: schemathesis.Case) -> None:
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            assert b"Traceback" not in response.content
            tried.add(case.operation.path)

        fuzz()
    assert {"/v1/predict", "/v1/score", "/v1/extract", "/v1/feedback", "/v1/explain"} <= tried
