"""A network cut in two is the network; rows share what lies below; other models are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from relgnn.errors import InputError
from relgnn.text.encoder import load_model
from relgnn.text.evidence import NO_SPAN
from relgnn.text.layers import SplitEncoder, TopLayers, padded_index
from relgnn.text.marking import Occurrence
from tests.text.toy import SIZES

TEXT = "Ada was born in Bonn ."
ROWS = [
    Occurrence(TEXT, "Ada", "Bonn", (0, 3), (16, 20)),
    Occurrence(TEXT, "Ben", "Bonn", NO_SPAN, (16, 20)),
    Occurrence("Cleo lives now in York , far away from Oslo .", "Cleo", "Oslo", (0, 4), (39, 43)),
]


def save_as(folder: Path, tiny_bert: str, model: Any, config: Any) -> str:
    """A random network of another kind, with the toy world's tokenizer."""
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("layers", [1, 2])
def test_upper_layers_over_stored_states_are_the_whole_network(tiny_bert: str, layers: int) -> None:
    encoder = SplitEncoder(tiny_bert, layers=layers)
    network, tokenizer = load_model(tiny_bert)
    texts = sorted({row.text for row in ROWS})
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        whole = network(**batch).last_hidden_state
        below = encoder.network.network(**batch).last_hidden_state
        each = torch.eye(mask.shape[1]).expand(len(texts), -1, -1)
        parts, _ = encoder.top(below, mask, each)
    torch.testing.assert_close(parts[mask], whole[mask], rtol=1e-4, atol=1e-5)


def test_minilm_can_be_cut() -> None:
    encoder = SplitEncoder(layers=2, dtype=torch.bfloat16)
    assert len(encoder.network.network.encoder.layer) == 4
    states = encoder.read(ROWS)
    assert states.states.shape[1] == 384 and states.states.dtype == torch.bfloat16


def test_stored_states_are_those_of_the_lower_layers(tiny_bert: str) -> None:
    encoder = SplitEncoder(tiny_bert, layers=1)
    network, tokenizer = load_model(tiny_bert)
    batch = encoder.read(ROWS).batch(torch.tensor([0, 2]))
    for i, row in enumerate((ROWS[0], ROWS[2])):
        with torch.no_grad():
            hidden = network(**tokenizer(row.text, return_tensors="pt"), output_hidden_states=True)
        reference = hidden.hidden_states[-2][0]
        torch.testing.assert_close(batch.states[i][batch.mask[i]], reference, rtol=1e-2, atol=2e-2)
    assert batch.states[~batch.mask].abs().max() == 0
    assert batch.mentions[0].nonzero().tolist() == [[0, 1], [1, 5]]
    assert (batch.mentions.sum(1) <= batch.mask).all()


def test_each_text_is_read_once(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SplitEncoder(tiny_bert, layers=1)
    first = encoder.read(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(encoder.network, "read", lambda *_: pytest.fail("read again"))
        again = encoder.read(ROWS[::-1])
    for i in range(3):
        one, other = first.batch(torch.tensor([i])), again.batch(torch.tensor([2 - i]))
        assert torch.equal(one.states, other.states)
    more = encoder.read([*ROWS, Occurrence("Dora saw Riga .", "Dora", "Riga", (0, 4), (9, 13))])
    assert torch.equal(more.states[: len(first.states)], first.states)
    assert len(more) == 4


def test_batches_do_not_change_states(tiny_bert: str) -> None:
    narrow = SplitEncoder(tiny_bert, layers=1, batch_tokens=1).read(ROWS)
    wide = SplitEncoder(tiny_bert, layers=1).read(ROWS)
    torch.testing.assert_close(narrow.states, wide.states, rtol=1e-2, atol=2e-2)


def test_a_batch_of_rows_is_each_row_padded(tiny_bert: str) -> None:
    states = SplitEncoder(tiny_bert, layers=1).read(ROWS)
    together = states.batch(torch.tensor([2, 0, 1, 0]))
    assert together.states.shape[:2] == together.mask.shape == (4, int(states.lengths.max()))
    for i, row in enumerate((2, 0, 1, 0)):
        alone = states.batch(torch.tensor([row]))
        n = int(states.lengths[row])
        assert together.mask[i].sum() == n
        assert torch.equal(together.states[i, :n], alone.states[0])
        assert torch.equal(together.mentions[i, :, :n], alone.mentions[0])


def test_reading_nothing_gives_nothing(tiny_bert: str) -> None:
    assert len(SplitEncoder(tiny_bert, layers=1).read([])) == 0


def test_mentions_beyond_the_text_read_count_as_unnamed(tiny_bert: str) -> None:
    short = SplitEncoder(tiny_bert, layers=1, text_tokens=6)
    batch = short.read(ROWS[2:]).batch(torch.tensor([0]))
    # "Oslo" stands before the six tokens of the sentence.
    assert batch.mentions[0].nonzero().tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("kind", ["roberta", "electra"])
def test_kin_of_bert_can_be_cut(kind: str, tmp_path: Path, tiny_bert: str) -> None:
    model, config = {
        "roberta": (RobertaModel, RobertaConfig),
        "electra": (ElectraModel, ElectraConfig),
    }[kind]
    path = save_as(tmp_path, tiny_bert, model, config(**SIZES))
    assert len(SplitEncoder(path, layers=2).read(ROWS)) == 3


@pytest.mark.parametrize("kind", ["distilbert", "mpnet"])
def test_other_models_are_refused_in_one_line(kind: str, tmp_path: Path, tiny_bert: str) -> None:
    model, config = {
        "distilbert": (DistilBertModel, DistilBertConfig(vocab_size=60, dim=32, n_layers=2,
                                                         n_heads=2, hidden_dim=64)),
        "mpnet": (MPNetModel, MPNetConfig(**SIZES)),
    }[kind]  # fmt: skip
    path = save_as(tmp_path, tiny_bert, model, config)
    with pytest.raises(InputError, match="take a model of the kind BERT") as error:
        SplitEncoder(path, layers=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layers", [0, 3, 9])
def test_the_cut_must_leave_layers_on_both_sides(tiny_bert: str, layers: int) -> None:
    with pytest.raises(InputError, match="from 1 to 2"):
        SplitEncoder(tiny_bert, layers=layers)


def test_padded_index_by_hand() -> None:
    index, mask = padded_index(torch.tensor([0, 2, 5]), torch.tensor([1, 0]))
    assert index.tolist() == [[2, 3, 4], [0, 1, 0]]
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_the_upper_layers_are_a_copy(tiny_bert: str) -> None:
    network: Any = load_model(tiny_bert)[0]
    top = TopLayers(network, 1)
    with torch.no_grad():
        next(top.parameters()).zero_()
    assert next(network.encoder.layer[-1].parameters()).abs().max() > 0
    assert isinstance(top.config, BertConfig)
