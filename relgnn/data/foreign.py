"""What the data folder of another library holds, and what its readers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from relgnn.data.tables import Problems, encodable, find_file
from relgnn.errors import InputError

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Foreign:
    """A knowledge graph as its files tell it.

    Args:
        splits: train, valid, test -> (head, relation, tail) as ids, in the order of the file.
        entities, relations: id -> (name, description), in the order of the file.
    """

    splits: Mapping[str, list[Row]]
    entities: Mapping[str, tuple[str, str]]
    relations: Mapping[str, tuple[str, str]]


def require_file(folder: Path, what: str, names: Iterable[str]) -> Path:
    """The first of `names` in a folder, plain or gzipped.

    Raises:
        InputError: there is none.
    """
    names = list(names)
    path = find_file(folder, *names)
    if path is None:
        raise InputError(
            f"{folder}: no {what}; expected {' or '.join(names)}, plain or with .gz, there"
        )
    return path


def check_ids(ids: Iterable[str], path: Path, line: int | None, problems: Problems) -> bool:
    """Whether a line of the standard format can hold the ids; a problem where it cannot."""
    for one in ids:
        if not one:
            problems.error("empty_cell", path, line, "an id is empty: fill it in")
            return False
        if set(one) & set("\t\n\r") or one != encodable(one):
            problems.error(
                "id", path, line,
                f"id {one!r} has a tab, a line break or half a character in it: rename it",
            )  # fmt: skip
            return False
    return True


def one_line(text: str) -> str:
    """A name or description without tabs and line breaks."""
    return encodable(" ".join(text.split()))
