"""PyKEEN's data folders: triples as text, or as its factories store them; no pickle is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from relgnn.data.folder import SPLITS
from relgnn.data.foreign import Foreign, Row, check_ids, require_file
from relgnn.data.tables import Problems, find_file, raise_alone, read_text
from relgnn.errors import InputError

NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev"),
    "test": ("test", "testing"),
}
ENDINGS = ("txt", "tsv")
NUMERIC = "numeric_triples.tsv"
ENTITIES, RELATIONS = "entity_to_id.tsv", "relation_to_id.tsv"
TRIPLE = ["head", "relation", "tail"]

Labels = dict[str, str]
"""Number, as it is written -> label."""


def is_pykeen(folder: Path) -> bool:
    """Whether a folder has triples for training where PyKEEN keeps them."""
    return _stored(folder) or find_file(folder, *_files("train")) is not None


def read_pykeen(folder: Path) -> Foreign:
    """Read a folder that PyKEEN 1.11 reads or writes.

    Either three files of labelled triples, `train` (or `training`), `valid` (`validation`, `dev`)
    and `test` (`testing`) with the ending .txt or .tsv, and `entity_to_id.tsv` and
    `relation_to_id.tsv` where they are there; or what `Dataset.to_directory_binary` writes: folders
    `training`, `validation` and `testing`, each as `TriplesFactory.to_path_binary` leaves it, with
    `numeric_triples.tsv` and the two tables. All plain or gzipped, and quoted as pandas does it.
    Labels are ids and names at once; numbers are, where there is no table.

    Raises:
        InputError: a file is missing or broken, or the parts number things differently.
    """
    stored = _stored(folder)
    splits: dict[str, list[Row]] = {}
    entities: Labels = {}
    relations: Labels = {}
    for split in SPLITS:
        place = _part(folder, split) if stored else folder
        problems = Problems()
        tables = [_table(place, name, problems) for name in (ENTITIES, RELATIONS)]
        if stored:
            splits[split] = list(_numbered(place, tables[0], tables[1], problems))
        else:
            splits[split] = list(_labelled(folder, split, problems))
        raise_alone(problems, place)
        for known, table in ((entities, tables[0]), (relations, tables[1])):
            _join(known, table, place)
    rows = [row for part in splits.values() for row in part]
    ends = dict.fromkeys([*entities.values(), *(end for h, _, t in rows for end in (h, t))])
    kinds = dict.fromkeys([*relations.values(), *(relation for _, relation, _ in rows)])
    return Foreign(splits, {x: (x, "") for x in ends}, {x: (x, "") for x in kinds})


def _files(split: str) -> list[str]:
    return [f"{name}.{ending}" for name in NAMES[split] for ending in ENDINGS]


def _stored(folder: Path) -> bool:
    return any(find_file(folder / name, NUMERIC) is not None for name in NAMES["train"])


def _part(folder: Path, split: str) -> Path:
    """The folder of a split."""
    return require_file(folder, f"{split} triples", (f"{x}/{NUMERIC}" for x in NAMES[split])).parent


def _rows(path: Path, width: int, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that has `width` cells; a problem for each that has not."""
    reader = csv.reader(io.StringIO(read_text(path, problems), newline=""), delimiter="\t")
    try:
        for cells in reader:
            if len(cells) == width:
                yield reader.line_num, cells
            elif cells:
                problems.error(
                    "columns", path, reader.line_num,
                    f"found {len(cells)} columns, expected {width} separated by tabs: correct this "
                    "line (a cell that opens with a quotation mark goes on to the next one)",
                )  # fmt: skip
    except csv.Error as error:
        problems.error("columns", path, reader.line_num, f"{error}: correct this line")


def _labelled(folder: Path, split: str, problems: Problems) -> Iterator[Row]:
    path = require_file(folder, f"{split} triples", _files(split))
    for line, (head, relation, tail) in _rows(path, 3, problems):
        if check_ids((head, relation, tail), path, line, problems):
            yield head, relation, tail


def _numbered(
    folder: Path, entities: Labels, relations: Labels, problems: Problems
) -> Iterator[Row]:
    path = require_file(folder, "triples", (NUMERIC,))
    rows = _rows(path, 3, problems)
    if next(rows, (0, []))[1] != TRIPLE:
        problems.error("header", path, 1, f"expected the header {' '.join(TRIPLE)}: store it anew")
        return
    for line, cells in rows:
        try:
            head, relation, tail = (
                table[cell] if table else str(int(cell))
                for cell, table in zip(cells, (entities, relations, entities), strict=True)
            )
        except (KeyError, ValueError) as error:
            problems.error(
                "number", path, line,
                f"{error.args[0]!r}: expected a number that {ENTITIES} or {RELATIONS} has: store "
                "the factory anew",
            )  # fmt: skip
            continue
        yield head, relation, tail


def _table(folder: Path, name: str, problems: Problems) -> Labels:
    """The labels by number; none where there is no such file."""
    path = find_file(folder, name)
    if path is None:
        return {}
    rows = _rows(path, 2, problems)
    header = next(rows, (0, []))[1]
    if sorted(header) != ["id", "label"]:
        problems.error("header", path, 1, "expected the header id label: store the factory anew")
        return {}
    found: Labels = {}
    labels = set()
    for line, cells in rows:
        number, label = (cells[header.index(column)] for column in ("id", "label"))
        if number in found or label in labels:
            problems.error(
                "duplicate_id", path, line,
                f"number {number} or label {label!r} is there already: keep one of the two",
            )  # fmt: skip
        elif check_ids((number, label), path, line, problems):
            found[number] = label
            labels.add(label)
    return found


def _join(known: Labels, table: Labels, folder: Path) -> None:
    """Add a part's labels to those of the parts before it.

    Raises:
        InputError: a number has another label there.
    """
    for number, label in table.items():
        if known.setdefault(number, label) != label:
            raise InputError(
                f"{folder}: number {number} is {label!r} here and {known[number]!r} in another "
                "part; store the parts of one data set"
            )
