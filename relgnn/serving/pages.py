"""The documentation page: the OpenAPI document as plain HTML, with nothing from elsewhere."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template


def docs_page(openapi: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: every path, its parameters, its body and its answers."""
    schemas = openapi.get("components", {}).get("schemas", {})
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "says": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "body": _name(operation.get("requestBody")),
            "answers": [
                (status, answer.get("description", ""), _name(answer))
                for status, answer in operation["responses"].items()
            ],
        }
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    shown = {name: json.dumps(schema, indent=1) for name, schema in schemas.items()}
    return _template().render(info=openapi["info"], operations=operations, schemas=shown)


def _name(said: dict[str, Any] | None) -> str:
    """The name of the schema that a body or an answer has; "" for none."""
    content = (said or {}).get("content", {}).get("application/json", {})
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2]


@cache
def _template() -> Template:
    text = files("relgnn.serving").joinpath("docs.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
