"""What a mistake in a configuration is called: the key, the value and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

EXPECTED = "Input should be "
BRANCH = re.compile(r"(constrained-)?(str|int|float|bool)$|(literal|tuple|list|dict)\[")
"""What pydantic calls the types of a value that may be of several."""


def explain(
    error: ValidationError, origin: str, places: Mapping[str, str], keys: Sequence[str]
) -> str:
    """The first mistake of a configuration in one line.

    Args:
        error: all of them.
        origin: where the configuration is from.
        places: by dotted key, where else a value is from.
        keys: every key that there is, dotted.
    """
    # an unknown key is often why another one is missing, so it is told first
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    placed = [(_without_branches(one["loc"], keys), one) for one in found]
    # a value that may be of several types fails as each; who got furthest was meant
    parts = placed[0][0]
    same = [(place, one) for place, one in placed if place[: len(parts)] == parts]
    parts = max((place for place, _ in same), key=len)
    meant = [one for place, one in same if place == parts]
    first, key = meant[0], ".".join(map(str, parts))
    place = next(
        (text for known, text in places.items() if f"{key}.".startswith(f"{known}.")), origin
    )
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key '{key}'; {_nearest(key, keys)}"
    if first["type"] == "missing":
        return f"{place}: '{key}' is missing; add it to the file or give {key}=VALUE"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: '{key}' {message}" if key else f"{place}: {message}"
    told = dict.fromkeys(
        f"a list of at least {one['ctx']['min_length']}"
        if one["type"] == "too_short"
        else one["msg"].removeprefix(EXPECTED)
        for one in meant
    )
    listed = message.startswith(EXPECTED) or first["type"] == "too_short"
    expected = f"{EXPECTED}{' or '.join(told)}" if listed else message
    expected = expected[:1].lower() + expected[1:]
    return f"{place}: '{key}' is {shown(first['input'])}; {expected}"


def _without_branches(place: tuple[int | str, ...], keys: Sequence[str]) -> tuple[int | str, ...]:
    """A place in the configuration without the names of the types that were tried of a value."""
    kept: tuple[int | str, ...] = ()
    for part in place:
        key = ".".join(map(str, kept))
        is_value = key in keys and not any(one.startswith(f"{key}.") for one in keys)
        if not (is_value and isinstance(part, str) and BRANCH.match(part)):
            kept = (*kept, part)
    return kept


def _nearest(key: str, keys: Sequence[str]) -> str:
    section, _, name = key.rpartition(".")
    names = [one.rpartition(".")[2] for one in keys]
    siblings = [one.rpartition(".")[2] for one in keys if one.rpartition(".")[0] == section]
    if name not in names:
        near = difflib.get_close_matches(name, siblings, 1)
        if near:
            return f"did you mean '{'.'.join(filter(None, (section, near[0])))}'?"
        name = "".join(difflib.get_close_matches(name, names, 1))
    close = [f"'{one}'" for one, last in zip(keys, names, strict=True) if last == name]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known here are: {', '.join(siblings)}"


def shown(value: Any) -> str:
    """A value as an error names it, cut where it is long."""
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error: Exception) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split())
