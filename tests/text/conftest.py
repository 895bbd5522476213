"""The packaged model once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from relgnn.text.encoder import TextEncoder, load_model
from tests.text.causal import write_causal


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


@pytest.fixture(scope="session")
def masked_bert(tiny_bert: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny BERT with a mask token."""
    network, tokenizer = load_model(tiny_bert)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    with torch.random.fork_rng():
        torch.manual_seed(6)
        network.resize_token_embeddings(len(tokenizer))
    folder = tmp_path_factory.mktemp("masked-bert")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny causal model."""
    return write_causal(tmp_path_factory.mktemp("tiny-causal"))
