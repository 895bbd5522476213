"""A service over the tiny run, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from relgnn.serving.app import create_app
from relgnn.serving.settings import Settings
from relgnn.serving.share import shared_vectors

HERE = "http://localhost"
Open = Callable[..., TestClient]


@pytest.fixture(scope="session")
def vectors(own_run: Path) -> Path:
    """The run's vectors, as workers map them."""
    return shared_vectors(own_run)


@pytest.fixture(scope="session")
def served_run(own_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, whose ledger the tests of a service may add to."""
    return Path(shutil.copytree(own_run, tmp_path_factory.mktemp("served") / "run"))


@pytest.fixture
def open_service(served_run: Path, vectors: Path) -> Iterator[Open]:
    """Opens services of the run with other settings."""
    before = torch.get_num_threads()
    with ExitStack() as stack:

        def opened(**changes: object) -> TestClient:
            settings = Settings(run=served_run, vectors=vectors, **changes)  # type: ignore[arg-type]
            app = create_app(settings)
            return stack.enter_context(TestClient(app, HERE, raise_server_exceptions=False))

        yield opened
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def client(served_run: Path, vectors: Path) -> Iterator[TestClient]:
    """A service with the settings' defaults; the tests of a module share it."""
    app = create_app(Settings(run=served_run, vectors=vectors))
    with TestClient(app, HERE, raise_server_exceptions=False) as client:
        yield client
