"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.answers import Answer, Call
from tests.own import write_config, write_data

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# no deadline: a busy machine is no failure; derandomised: a failure is there on every run
settings.register_profile("relgnn", deadline=None, derandomize=True)
settings.load_profile("relgnn")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; skips where there is none."""
    for folder in (os.environ.get("RELGNN_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if folder and (Path(folder) / "codex_s").is_dir():
            return Path(folder)
    pytest.skip("the real data sets are not beside this checkout")


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn; skips CUDA where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `relgnn` with the given words."""
    from relgnn.cli import main

    def run(*words: object) -> Answer:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Answer(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Encodings of the user's own folder, made once for all its runs."""
    folder = tmp_path_factory.mktemp("vectors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELGNN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def own_config(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Path:
    """A configuration beside a user's own folder, `data`."""
    folder = tmp_path_factory.mktemp("own")
    return write_config(folder / "own.yaml", write_data(folder / "data"))


@pytest.fixture(scope="session")
def own_run(own_config: Path) -> Path:
    """The folder of a finished run of it; not to be changed."""
    from relgnn.config import load_config
    from relgnn.loop.run import run

    folder = own_config.parent / "run"
    run(load_config(own_config), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a three-layer BERT with random weights that knows the toy world's words."""
    # Here, so that the variables above are set before.
    from tests.text.bert import write_bert

    return write_bert(tmp_path_factory.mktemp("tiny-bert"))
