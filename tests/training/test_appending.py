"""Lines that are only added: the last one is found however long it is, a torn one goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relgnn.training.appending import BLOCK, append_lines, is_json


@pytest.mark.parametrize("size", [0, 1, BLOCK - 3, BLOCK - 2, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
@pytest.mark.parametrize("before", [b"", b"[1]\n", b"\n"])
def test_the_last_line_is_told_whatever_its_length(
    tmp_path: Path, size: int, before: bytes
) -> None:
    path, line = tmp_path / "log", json.dumps("x" * size).encode()
    for end in (b"\n", b""):  # one without a break is whole where it is JSON
        path.write_bytes(before + line + end)
        told: list[bytes] = []

        def written(last: bytes, told: list[bytes] = told) -> str:
            told.append(last)
            return "2\n"

        append_lines(path, written)
        assert told == [line]
        assert path.read_bytes() == before + line + b"\n2\n"


@pytest.mark.parametrize("torn", [b'{"a": ', b'"' + b"x" * BLOCK])
def test_a_torn_line_goes_and_the_one_before_it_is_the_last(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "folder" / "log"
    append_lines(path, lambda last: "1\n" if not last else "")
    path.write_bytes(path.read_bytes() + torn)
    told = []
    append_lines(path, lambda last: (told.append(last), "2\n")[1])  # type: ignore[func-returns-value]
    assert told == [b"1"] and path.read_bytes() == b"1\n2\n"
    assert is_json(b"1") and not is_json(torn)
