"""One thread for models this small, and an extractor that has learned nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from relgnn.loop import estep
from tests.linkpred import toy

one_thread = toy.one_thread


@pytest.fixture
def blank_extractor(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A language model that says 0 of every row it reads; gives the pairs of those rows."""
    read = []

    class Blank:
        def __init__(self, *args: object, **options: object) -> None: ...

        def read(self, rows: Sequence[object]) -> Sequence[object]:
            return rows

    def zeros(
        encoder: Blank, states: object, pair: np.ndarray, labels: object, folds: object,
        relations: int, *args: object, **options: object,
    ) -> np.ndarray:  # fmt: skip
        read.append(pair)
        return np.zeros((len(pair), 2 * relations), dtype=np.float32)

    monkeypatch.setattr(estep, "SplitEncoder", Blank)
    monkeypatch.setattr(estep, "cross_fit_extractor", zeros)
    return read
