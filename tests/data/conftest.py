"""A small folder in the standard format, with any of its files replaced."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {
    "train.tsv": "a\tlikes\tb\nb\tlikes\tc\nc\tknows\ta\na\tknows\tb\n",
    "valid.tsv": "a\tlikes\tc\n",
    "test.tsv": "b\tknows\ta\nc\tlikes\tb\n",
    "entities.tsv": "a\tAnn\ta painter\nb\tBob\t\nc\tCy\ta town\n",
    "relations.tsv": "likes\tlikes\tis fond of\nknows\tknows\t\n",
    "texts.jsonl": (
        '{"id": "t1", "text": "Ann likes Bob. Bob sleeps.", "entity": "a"}\n'
        '{"id": "t2", "text": "Cy is a town."}\n'
    ),
}

WriteFolder = Callable[..., Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Writes the small folder; keyword arguments replace files, None leaves a file out.

    "entities_tsv" stands for "entities.tsv"; bytes are written as they are.
    """

    def write(folder: str = "own", **changes: str | bytes | None) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        renamed = {key[::-1].replace("_", ".", 1)[::-1]: value for key, value in changes.items()}
        for name, content in {**FILES, **renamed}.items():
            if content is not None:
                data = content if isinstance(content, bytes) else content.encode()
                (path / name).write_bytes(data)
        return path

    return write


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes files below a temporary folder; names that end with .gz are compressed."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode()
            path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return tmp_path

    return write
