"""YAML as people write configurations, and `key.sub=value` changes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from relgnn.config.errors import one_line, shown
from relgnn.errors import InputError

_NO_VALUE = (ValueError, KeyError, AttributeError)
"""What YAML raises of a value that looks like a date or has a tag, and is none: 2026-13-45."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 3e-4 is a number, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: a text that looks like a number is quoted."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )


def written(tree: Mapping[str, Any]) -> str:
    """YAML that `parse` reads back to an equal tree of plain values."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse(text: str, origin: str) -> Any:
    """The content of a YAML text.

    Raises:
        InputError: it is not YAML; `origin` names it.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or one_line(error)
        raise InputError(f"{origin}{line}: not YAML ({problem}); correct the line") from None
    except _NO_VALUE as error:
        raise InputError(f"{origin}: not YAML ({error}); put the value in quotes") from None


def tree_of(
    content: Any, overrides: Sequence[str], origin: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Sections as plain JSON, changed by overrides, and by dotted key where a change is from.

    Raises:
        InputError: the content is no mapping of plain values, or an override is malformed.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"{origin}: holds {shown(content)}, expected sections such as 'data:' and 'train:'"
        )
    try:
        tree = json.loads(json.dumps(content, default=str))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{origin}: {one_line(error)}; keys are words, values plain YAML"
        ) from None
    places: dict[str, str] = {}
    for override in overrides:
        places[_override(tree, override)] = f"override '{override}'"
    return tree, places


def _override(tree: dict[str, Any], override: str) -> str:
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"override '{override}': expected key=value, such as train.epochs=10")
    for part in parts[:-1]:
        below = tree.get(part)
        if below is None:
            below = tree[part] = {}
        if not isinstance(below, dict):
            raise InputError(f"override '{override}': '{part}' is {shown(below)}, not a section")
        tree = below
    try:
        tree[parts[-1]] = json.loads(
            json.dumps(parse(value, f"override '{override}'"), default=str)
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"override '{override}': {one_line(error)}; give plain YAML") from None
    return ".".join(parts)
