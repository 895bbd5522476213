"""Tab-separated and JSON-lines files, plain or gzipped, with every fault located to its line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from relgnn.errors import InputError

Severity = Literal["error", "warning"]

_BOM = b"\xef\xbb\xbf"
_SHOWN_PER_KIND = 10
_NOT_JSON = (ValueError, RecursionError)
"""What `json.loads` raises; a ValueError that is no JSONDecodeError for thousands of digits."""


@dataclass(frozen=True)
class Problem:
    """One fault of a folder: what is wrong, where, and what to do, in one line."""

    severity: Severity
    code: str
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.message}"


@dataclass
class Problems:
    """Collects faults; past ten of a kind in one file only their number is kept."""

    found: list[Problem] = field(default_factory=list)
    _counts: Counter[tuple[Severity, str, str]] = field(default_factory=Counter)

    def error(self, code: str, path: Path, line: int | None, message: str) -> None:
        """Record a fault that makes the folder unusable."""
        self._add("error", code, path, line, message)

    def warning(self, code: str, path: Path, line: int | None, message: str) -> None:
        """Record a fault that loading repairs or ignores."""
        self._add("warning", code, path, line, message)

    def _add(
        self,
        severity: Severity,
        code: str,
        path: Path,
        line: int | None,
        message: str,
    ) -> None:
        kind = severity, path.name, code
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN_PER_KIND:
            place = path.name if line is None else f"{path.name}:{line}"
            self.found.append(Problem(severity, code, place, " ".join(message.split())))

    def all(self) -> list[Problem]:
        """The problems, each kind that was cut short closed by a line with its full number."""
        cut = [
            Problem(
                severity,
                code,
                name,
                f"{number - _SHOWN_PER_KIND} more lines with the same fault ({code}): "
                "correct them in the same way",
            )
            for (severity, name, code), number in self._counts.items()
            if number > _SHOWN_PER_KIND
        ]
        return self.found + cut


def find_file(folder: Path, *names: str) -> Path | None:
    """The first of `names` in `folder`, plain or with .gz; None where there is none."""
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def read_text(path: Path, problems: Problems) -> str:
    """The text of a UTF-8 file, plain or gzipped; "" where it cannot be read.

    A byte-order mark is skipped with a warning; a byte that is not UTF-8 is an error that names
    its line and its place in the line.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        problems.error("unreadable", path, None, f"cannot be read ({error}): replace the file")
        return ""
    if data.startswith(_BOM):
        problems.warning(
            "bom", path, 1, "starts with a byte-order mark, which is skipped: save without BOM"
        )
        data = data[len(_BOM) :]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        problems.error(
            "encoding",
            path,
            data.count(b"\n", 0, error.start) + 1,
            f"byte {error.start - line_start + 1} of the line (0x{data[error.start]:02x}) is not "
            "UTF-8: convert the whole file to UTF-8, for example with iconv",
        )
        return ""


@dataclass(frozen=True)
class Table:
    """The cells of a file by column, and the line that each row stands on."""

    lines: list[int]
    columns: tuple[list[str], ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """(line number from 1, cells) for each row."""
        return zip(self.lines, zip(*self.columns, strict=True), strict=True)

    def select(self, rows: Iterable[int]) -> Table:
        """The table of the given rows."""
        rows = list(rows)
        columns = tuple([column[row] for row in rows] for column in self.columns)
        return Table([self.lines[row] for row in rows], columns)


def read_table(
    path: Path, expected: tuple[str, ...], problems: Problems, optional: int = 0
) -> Table:
    """A tab-separated file without a header, blank lines left out.

    Args:
        path: the file, plain or gzipped.
        expected: names of the columns; a row has to have so many.
        problems: receives a "columns" error for each row with another number of columns, which
            is left out.
        optional: how many of the last columns may be missing; they are filled with "".
    """
    width = len(expected)
    least = width - optional
    text = read_text(path, problems)
    lines, kept = [], []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        found = line.count("\t") + 1
        if not line:
            continue
        if least <= found <= width:
            lines.append(number)
            kept.append(line if found == width else line + "\t" * (width - found))
            continue
        problems.error(
            "columns",
            path,
            number,
            f"found {found} {'column' if found == 1 else 'columns'}, expected "
            f"{f'{least} to {width}' if optional else width} ({', '.join(expected)}) "
            "separated by tabs: correct this line",
        )
    # One split of the whole file: a list per row would take most of the time of loading.
    cells = "\t".join(kept).split("\t") if kept else []
    return Table(lines, tuple(cells[column::width] for column in range(width)))


def warn_of_header(
    path: Path, table: Table, names: Sequence[Collection[str]], problems: Problems
) -> None:
    """Warn where the first row names its columns, and so would be read as content.

    Args:
        path: the table's file.
        table: what it holds.
        names: what people call each of the first columns, in lower case.
        problems: receives a "header" warning.
    """
    for number, cells in islice(table.rows(), 1):
        if all(cell.lower() in known for cell, known in zip(cells, names, strict=False)):
            problems.warning(
                "header", path, number, "looks like a header and is read as content: delete it"
            )


def read_json_lines(
    path: Path, problems: Problems, example: str = '{"id": …, "text": …}'
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each line of a JSON-lines file that holds an object.

    Args:
        path: the file, plain or gzipped.
        problems: receives a "json" error for each other line.
        example: of an object, for the error.
    """
    for number, line in enumerate(read_text(path, problems).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except _NOT_JSON as error:
            told, _ = _json_fault(error)
            problems.error("json", path, number, f"not JSON ({told}): write one object a line")
            continue
        if "\\u" in line and not _encodes(value):
            problems.error(
                "json", path, number, "has half a character in it (\\ud800 to \\udfff): mend it"
            )
        elif isinstance(value, dict):
            yield number, value
        else:
            problems.error(
                "json",
                path,
                number,
                f"found a {type(value).__name__}, expected an object: write {example} a line",
            )


def read_json(path: Path, problems: Problems) -> Any:
    """The value of a JSON file; None where it is not JSON."""
    try:
        return json.loads(read_text(path, problems) or "null")
    except _NOT_JSON as error:
        told, line = _json_fault(error)
        problems.error("json", path, line, f"not JSON ({told}): correct the file")
        return None


def _json_fault(error: Exception) -> tuple[str, int | None]:
    """What is wrong, and in which line where that is known."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}", error.lineno
    deep = isinstance(error, RecursionError)
    return "too many brackets in each other" if deep else "a number of too many digits", None


def raise_first(problems: Iterable[Problem], folder: Path) -> None:
    """Raise the first error as one line that says how to see the others; nothing without errors.

    Raises:
        InputError: where there is an error.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    more = f"; {len(errors) - 1} more: run `relgnn data check {folder}`" if errors[1:] else ""
    raise InputError(f"{folder}/{errors[0].place}: {errors[0].message}{more}")


def raise_alone(problems: Problems, folder: Path) -> None:
    """Raise the first error of a file that is no part of a data set.

    Raises:
        InputError: where there is an error.
    """
    for problem in problems.all():
        if problem.severity == "error":
            raise InputError(f"{folder / problem.place}: {problem.message}")


def encodable(text: str) -> str:
    """The text with a question mark for each half of a character, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _encodes(value: Any) -> bool:
    """Whether what a line of JSON held has whole characters alone."""
    text = json.dumps(value, ensure_ascii=False)
    return text == encodable(text)
