"""What the command line answers, and what every failure looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Answer]


def require_one_line(answer: Answer, status: int, *parts: str) -> None:
    assert answer.status == status, answer
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1, answer.err
    for part in parts:
        assert part in answer.err
