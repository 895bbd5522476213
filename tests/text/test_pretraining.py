from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from relgnn.config import PretrainingConfig, RuntimeConfig
from relgnn.data.corpus import MarkedText
from relgnn.errors import InputError
from relgnn.runtime import Runtime, torch_rng
from relgnn.text.encoder import load_model
from relgnn.text.masking import PassageReader, mask_units
from relgnn.text.pretraining import (
    MaskedHead,
    Pretrained,
    PretrainingTask,
    perplexity,
    pretrain,
)
from tests.text.toy import PEOPLE, TOWNS, toy_occurrences

TEXTS = [MarkedText(row.text, (row.head_span, row.tail_span)) for row in toy_occurrences()[0]]
PAIRS = [MarkedText(f"{a} saw the {b} . {b} and {a} end .") for a in PEOPLE for b in TOWNS]


@pytest.fixture
def runtime() -> Runtime:
    return Runtime.from_config(RuntimeConfig(threads=1))


def model_of(folder: str, objectives: str = "mlm", whole: bool = False) -> tuple[Any, ...]:
    network, tokenizer = load_model(folder)
    reader = PassageReader(tokenizer, 24)
    passages = reader.windows(TEXTS, whole)
    torch.manual_seed(0)
    return Pretrained(network, objectives, passages.ids).eval(), passages, reader


def test_the_head_is_berts_and_tied(masked_bert: str) -> None:
    network, _ = load_model(masked_bert)
    embeddings = network.get_input_embeddings().weight
    head = MaskedHead(network, torch.tensor([4, 4, 5]))
    config = BertConfig(
        vocab_size=len(embeddings), hidden_size=32, intermediate_size=64, layer_norm_eps=1e-5
    )
    reference = BertLMPredictionHead(config)
    dense, _, norm = head.transform
    reference.transform.dense.load_state_dict(dense.state_dict())
    reference.transform.LayerNorm.load_state_dict(norm.state_dict())
    reference.decoder.weight.data = embeddings.data
    reference.decoder.bias.data = head.bias.data
    states = torch.randn(7, 32)
    torch.testing.assert_close(head(states, embeddings), reference(states))
    assert not any(p.shape == embeddings.shape for p in head.parameters())
    share = head.bias.detach().exp()
    assert float(share.sum()) == pytest.approx(1)
    assert float(share[4] / share[5]) == pytest.approx(3 / 2)


@pytest.mark.parametrize("entities", [0.0, 0.5])
def test_the_loss_is_that_of_hidden_tokens_alone(masked_bert: str, entities: float) -> None:
    model, passages, reader = model_of(masked_bert, whole=entities > 0)
    settings = PretrainingConfig(entities=entities)
    task = PretrainingTask(model, passages, reader, settings, head_only=False)
    batch = next(iter(task.batches(0, torch_rng("order", 0))))
    loss = task.loss(batch, torch_rng("noise", 0))
    rows = reader.rows(passages, batch[0])
    ids, hidden = mask_units(
        rows, 0.15, entities, reader.tokenizer.mask_token_id, len(reader.tokenizer),
        torch_rng("noise", 0),
    )  # fmt: skip
    everywhere = model.guess(model.states(ids, rows))
    wanted = rows.ids.masked_fill(~hidden, -100)
    torch.testing.assert_close(
        loss,
        functional.cross_entropy(everywhere.flatten(0, 1), wanted.flatten(), ignore_index=-100),
    )


def test_perplexity_counts_every_token_once(masked_bert: str) -> None:
    model, _, reader = model_of(masked_bert)
    passages = reader.windows(TEXTS[:9], whole=True)
    model.masked.transform[2].weight.data.zero_()
    model.masked.transform[2].bias.data.zero_()
    # what is left is the bias, which knows no context
    expected = math.exp(-float(model.masked.bias.detach().log_softmax(0)[passages.ids].mean()))
    assert perplexity(model, passages, reader) == pytest.approx(expected, rel=1e-4)


def test_perplexity_hides_what_it_asks_for(masked_bert: str) -> None:
    model, passages, reader = model_of(masked_bert, whole=True)
    before = perplexity(model, passages, reader)
    read = []
    states = model.states
    model.states = lambda ids, batch: read.append((ids, batch)) or states(ids, batch)
    assert perplexity(model, passages, reader) == before
    mask = reader.tokenizer.mask_token_id
    assert all(0 < int((ids == mask).sum()) <= int(batch.mask.sum()) // 3 for ids, batch in read)


@pytest.mark.parametrize("objectives", ["mlm", "both"])
def test_it_learns(masked_bert: str, tmp_path: Path, runtime: Runtime, objectives: str) -> None:
    network, tokenizer = load_model(masked_bert)
    settings = PretrainingConfig(
        objectives=objectives, epochs=8, head_epochs=2, batch_size=16, lr=3e-3, head_lr=1e-2,
        entities=0.3,
    )  # fmt: skip
    found = pretrain(network, tokenizer, TEXTS * 2, settings, 24, runtime, tmp_path)
    if objectives == "mlm":
        assert found["perplexity"] < 0.8 * found["perplexity_before"] < 0.8 * len(tokenizer)
    else:
        assert found["nsp_accuracy"] > max(0.7, found["nsp_accuracy_before"])


def test_heads_are_trained_before_the_rest(masked_bert: str) -> None:
    model, passages, reader = model_of(masked_bert, "both")
    passages = reader.sentences(PAIRS, whole=False)
    for head_only in (True, False):
        task = PretrainingTask(model, passages, reader, PretrainingConfig(), head_only)
        model.zero_grad()
        batch = next(iter(task.batches(0, torch_rng("order", 0))))
        task.loss(batch, torch_rng("noise", 0)).backward()
        moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        assert moved == ({"masked", "follows"} if head_only else {"network", "masked", "follows"})
        rates = {group["lr"] for group in task.parameter_groups(1e-4, 0.01)}
        assert rates == ({1e-3} if head_only else {1e-4, 1e-3})
        assert task.num_batches(0) == len(list(task.batches(0, torch_rng("order", 0))))


def test_half_the_pairs_are_strangers(masked_bert: str) -> None:
    model, _, reader = model_of(masked_bert, "nsp")
    passages = reader.sentences(PAIRS, whole=False)
    task = PretrainingTask(model, passages, reader, PretrainingConfig(), head_only=False)
    chosen, follows = (torch.cat(x) for x in zip(*task.batches(0, torch_rng("o", 0)), strict=True))
    assert sorted(chosen[:, 0].tolist()) == passages.following().tolist()
    assert torch.equal(passages.text[chosen[:, 0]] == passages.text[chosen[:, 1]], follows)
    assert 0.3 < float(follows.float().mean()) < 0.7


@pytest.mark.parametrize(("texts", "objectives", "told"), [
    (TEXTS[:3], "mlm", "3 texts, and two have to be held out"),
    ([MarkedText("Ada"), MarkedText("Ben")] * 9, "nsp", "too few have two sentences"),
    ([*PAIRS[:3], *[MarkedText("Ada")] * 40], "nsp", "that are held out"),
])  # fmt: skip
def test_too_few_texts(
    masked_bert: str, tmp_path: Path, runtime: Runtime, texts: list[MarkedText], objectives: str,
    told: str,
) -> None:  # fmt: skip
    settings = PretrainingConfig(objectives=objectives)
    with pytest.raises(InputError) as caught:
        pretrain(*load_model(masked_bert), texts, settings, 24, runtime, tmp_path)
    assert told in str(caught.value)


def test_a_model_without_a_mask_token(tiny_bert: str, tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(InputError, match="needs a mask token"):
        pretrain(*load_model(tiny_bert), TEXTS, PretrainingConfig(), 24, runtime, tmp_path)
