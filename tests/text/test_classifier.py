"""The classifier's gradients are the same however they are collected, wherever its parts are."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from relgnn.config import TuningConfig
from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.classifier import RelationClassifier, gather_gradient
from relgnn.text.encoder import load_model
from relgnn.text.rows import Marker, RowBatch
from tests.text.toy import toy_occurrences

ROWS, _, RELATION = toy_occurrences()
TRUTH = torch.from_numpy(RELATION)


def made(model: str, tuning: TuningConfig) -> tuple[RelationClassifier, list[RowBatch]]:
    network, tokenizer = load_model(model)
    torch.manual_seed(0)
    marker = Marker(tokenizer)
    marker.resize(network)
    rows = marker.rows([Example(row.text, row.head_span, row.tail_span, 0) for row in ROWS])
    batches = [rows.batch(part) for part in torch.arange(16).split(8)]
    return RelationClassifier(network, 2, tuning), batches


def gradients(model: RelationClassifier, batches: list[RowBatch]) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    torch.manual_seed(1)
    for number, batch in enumerate(batches):
        cross_entropy(model(batch), TRUTH[8 * number : 8 * number + 8]).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_a_gathered_gradient_is_the_plain_one_step_after_step(tiny_bert: str) -> None:
    model, batches = made(tiny_bert, TuningConfig())
    given = (batches[:1], batches, batches[1:])
    plain = [gradients(model, some) for some in given]
    gather_gradient(model.network.get_input_embeddings())
    for some, expected in zip(given, plain, strict=True):
        found = gradients(model, some)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # to the bit, but for the order in which batches are added up
            close = {} if len(some) > 1 else {"rtol": 0, "atol": 0}
            torch.testing.assert_close(found[name], value, **close)
    table = model.network.get_input_embeddings().weight
    assert not table.grad.is_sparse
    assert (table.grad == 0).all(1).any() and (table.grad != 0).any()


def test_a_frozen_table_is_left_alone(tiny_bert: str) -> None:
    model, batches = made(tiny_bert, TuningConfig(layers=1))
    gather_gradient(model.network.get_input_embeddings())
    assert "network.embeddings.word_embeddings.weight" not in gradients(model, batches)


def test_checkpointing_changes_no_gradient(tiny_bert: str) -> None:
    tuning = TuningConfig(dropout=0.2)
    expected = gradients(*made(tiny_bert, tuning))
    model, batches = made(tiny_bert, tuning.model_copy(update={"checkpointing": True}))
    layers, calls = list(model.network.encoder.layer), []
    layers[0].attention.register_forward_hook(lambda *_: calls.append(1))
    found = gradients(model, batches)
    assert len(calls) == 2 * len(batches)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_network_that_cannot_compute_twice_is_refused(tiny_bert: str) -> None:
    network, _ = load_model(tiny_bert)
    network.supports_gradient_checkpointing = False
    with pytest.raises(InputError, match="extraction.checkpointing: BertModel cannot"):
        RelationClassifier(network, 2, TuningConfig(checkpointing=True))


PARTS = ("embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2", "pooler")


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_a_model_in_several_places_says_the_same(tiny_bert: str, place: str) -> None:
    pytest.importorskip("accelerate")
    whole, tokenizer = load_model(tiny_bert)
    split, _ = load_model(tiny_bert, dict.fromkeys(PARTS, "cpu") | {"encoder.layer.1": place})
    assert any(value.is_meta for value in split.parameters()) == (place == "disk")
    rows = tokenizer("Ada lives now in Bonn .", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(split(**rows).last_hidden_state, whole(**rows).last_hidden_state)


def test_what_a_map_has_placed_is_not_moved(tiny_bert: str) -> None:
    model, _ = made(tiny_bert, TuningConfig())
    model.network.hf_device_map = {"embeddings": 0, "encoder": 1}
    model.place(torch.device("meta"))
    assert model.head.weight.is_meta and not model.network.embeddings.word_embeddings.weight.is_meta
    model.network.hf_device_map = {"": 0}
    model.place(torch.device("meta"))
    assert model.network.embeddings.word_embeddings.weight.is_meta
