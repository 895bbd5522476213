"""The packaged model once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from relgnn.text.encoder import TextEncoder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    """The default encoder, without a cache."""
    return TextEncoder()
