"""The text encoder: batches, caches and pooling change nothing; bad input is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import RobertaConfig, RobertaModel

from relgnn.errors import InputError, MachineError
from relgnn.text import encoder as encoder_module
from relgnn.text.encoder import TextEncoder, load_model
from tests.text.toy import WORDS

TEXTS = ["Ada was born in Bonn .", "", "Ben", "Cleo lives now in York , far away from Oslo .", "  "]
SPANS = [((0, 3), (16, 20)), (), ((0, 3),), ((0, 4), (21, 24), (40, 44)), ((0, 1),)]


@pytest.fixture(scope="module")
def tiny(tiny_bert: str) -> TextEncoder:
    return TextEncoder(tiny_bert)


def requests() -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    return list(zip(TEXTS, SPANS, strict=True))


def test_minilm_knows_what_is_alike(minilm: TextEncoder) -> None:
    a, b, c = minilm.encode(["a famous painter", "an artist of renown", "the price of steel"])
    assert a @ b > a @ c + 0.2
    assert minilm.dim == 384


def test_vectors_have_length_one_and_empty_texts_are_zero(tiny: TextEncoder) -> None:
    lengths = tiny.encode(TEXTS).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0, 1, 1, 0]), atol=1e-3, rtol=0)


def test_no_text_gives_no_vector(tiny: TextEncoder) -> None:
    assert tiny.encode([]).shape == (0, 32)
    assert tiny.encode_spans([("", ())])[1].shape == (0, 32)


def test_batch_of_one_equals_batch_of_many(tiny: TextEncoder, tiny_bert: str) -> None:
    single = TextEncoder(tiny_bert, batch_tokens=1)
    for one, many in zip(
        single.encode_spans(requests()), tiny.encode_spans(requests()), strict=True
    ):
        torch.testing.assert_close(one, many, atol=2e-3, rtol=0)


def test_windows_change_nothing(
    tiny: TextEncoder, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny.encode_spans(requests())
    monkeypatch.setattr(encoder_module, "WINDOW", 2)
    cached = TextEncoder(tiny_bert, cache=tmp_path)
    for _ in range(2):
        for one, many in zip(whole, cached.encode_spans(requests()), strict=True):
            torch.testing.assert_close(one, many, atol=2e-3, rtol=0)


def test_vectors_come_in_the_order_of_the_texts(minilm: TextEncoder) -> None:
    texts = [" ".join(WORDS[:n]) for n in (3, 1, 9, 3, 70, 2, 9)]
    together = minilm.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        torch.testing.assert_close(minilm.encode([text])[0], vector, atol=2e-3, rtol=0)


def test_span_pooling_equals_means_by_hand(tiny: TextEncoder) -> None:
    text, spans = TEXTS[3], SPANS[3]
    whole, parts = tiny.encode_spans([(text, spans)])
    tokens = tiny.tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    with torch.inference_mode():
        network = tiny.network.network
        states = network(input_ids=tokens["input_ids"]).last_hidden_state[0]
    expected = [states.mean(0)]
    for start, end in spans:
        inside = [
            i for i, (a, b) in enumerate(tokens["offset_mapping"][0]) if a < end and b > start
        ]
        expected.append(states[inside].mean(0))
    reference = nn.functional.normalize(torch.stack(expected), dim=1)
    torch.testing.assert_close(torch.cat([whole, parts]), reference, atol=1e-3, rtol=0)


def test_a_span_beyond_the_longest_text_is_zero(tiny_bert: str) -> None:
    short = TextEncoder(tiny_bert, max_tokens=4)
    _, parts = short.encode_spans([(TEXTS[0], SPANS[0])])
    assert parts[0].norm() > 0.9
    assert parts[1].norm() == 0


def test_a_cached_run_computes_nothing_and_gives_the_same(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = TextEncoder(tiny_bert, cache=tmp_path).encode_spans(requests())
    again = TextEncoder(tiny_bert, cache=tmp_path)
    monkeypatch.setattr(again.network, "read", lambda *_: pytest.fail("computed"))
    for old, new in zip(fresh, again.encode_spans(requests()), strict=True):
        assert torch.equal(old, new)
    assert torch.equal(again.encode([TEXTS[2], TEXTS[0]]), fresh[0][[2, 0]])


def test_new_texts_and_spans_join_the_cache(tiny_bert: str, tmp_path: Path) -> None:
    cached = TextEncoder(tiny_bert, cache=tmp_path)
    cached.encode(TEXTS[:1])
    plain = TextEncoder(tiny_bert)
    for _ in range(2):
        for a, b in zip(
            cached.encode_spans(requests()), plain.encode_spans(requests()), strict=True
        ):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_models_formats_and_lengths_have_caches_of_their_own(
    tiny_bert: str, tmp_path: Path
) -> None:
    for options in ({}, {"max_tokens": 8}, {"dtype": torch.bfloat16}, {"weights": "int8"}):
        TextEncoder(tiny_bert, cache=tmp_path, **options).encode(TEXTS[:1])
    assert len(list(tmp_path.iterdir())) == 4


def test_another_use_of_the_same_weights_has_a_cache_of_its_own(
    tiny_bert: str, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_bert, tmp_path / "other"))
    told = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**told, "hidden_act": "relu"}))
    words = Path(shutil.copytree(tiny_bert, tmp_path / "words"))
    tokens = (words / "tokenizer.json").read_text()
    (words / "tokenizer.json").write_text(tokens.replace("BertPreTokenizer", "Whitespace"))
    assert (words / "tokenizer.json").read_text() != tokens
    for model in (tiny_bert, other, words, tiny_bert):
        TextEncoder(str(model), cache=tmp_path / "cache").encode(TEXTS[:1])
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_model_that_cannot_be_written_leaves_nothing(
    tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, tokenizer = load_model(tiny_bert)

    def full(folder: Path) -> None:
        folder.mkdir()
        raise SafetensorError("I/O error: File too large (os error 27)")

    monkeypatch.setattr(network, "save_pretrained", full)
    with pytest.raises(MachineError, match="File too large .*; free disk space, then resume"):
        encoder_module.save_model(network, tokenizer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_bfloat16_is_close_to_float32(minilm: TextEncoder) -> None:
    texts = ["Ada Lovelace was born in London.", "steel"]
    half = TextEncoder(dtype=torch.bfloat16).encode(texts)
    assert ((half * minilm.encode(texts)).sum(1) > 0.999).all()


@pytest.mark.parametrize("kind", ["no such folder", "empty folder", "pickled weights"])
def test_a_model_that_cannot_be_loaded_is_one_line(
    kind: str, tmp_path: Path, tiny_bert: str
) -> None:
    path = tmp_path / "model"
    if kind != "no such folder":
        path.mkdir()
    if kind == "pickled weights":
        network, tokenizer = load_model(tiny_bert)
        tokenizer.save_pretrained(path)
        network.config.save_pretrained(path)
        torch.save(network.state_dict(), path / "pytorch_model.bin")
    with pytest.raises(InputError, match="text.model") as error:
        TextEncoder(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(("broken", "told"), [
    ("config.json", "not a valid JSON"), ("model.safetensors", "header"),
    ("tokenizer.json", "cannot be loaded"), ("no tokenizer", "it has no tokenizer files"),
])  # fmt: skip
def test_a_broken_model_folder_is_one_line(
    tiny_bert: str, tmp_path: Path, broken: str, told: str
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    if broken == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    else:
        (folder / broken).write_text("{")
    with pytest.raises(InputError, match="text.model: .* cannot be loaded") as error:
        load_model(str(folder))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_rows_longer_than_the_model_s_positions_are_refused(tiny_bert: str) -> None:
    network, _ = load_model(tiny_bert)
    encoder_module.require_positions(network, 128)
    with pytest.raises(InputError, match="max_tokens is 129 and the model has 128 positions"):
        TextEncoder(tiny_bert, max_tokens=129)
    del network.config.max_position_embeddings
    encoder_module.require_positions(network, 129)


def test_roberta_counts_positions_from_behind_the_padding() -> None:
    config = RobertaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=34,
    )  # fmt: skip
    network = RobertaModel(config).eval()
    encoder_module.require_positions(network, 32)
    assert network(torch.full((1, 32), 5)).last_hidden_state.shape == (1, 32, 8)
    with pytest.raises(InputError, match="max_tokens is 33 and the model has 32 positions"):
        encoder_module.require_positions(network, 33)
    with pytest.raises((IndexError, RuntimeError)):
        network(torch.full((1, 33), 5))


def test_weights_change_the_fingerprint(tiny_bert: str) -> None:
    network, _ = load_model(tiny_bert)
    before = encoder_module.fingerprint(network)
    with torch.no_grad():
        next(network.parameters())[0, 0] += 1
    assert encoder_module.fingerprint(network) != before


def test_the_fingerprint_does_not_depend_on_the_number_of_threads() -> None:
    network = torch.nn.Linear(1000, 1000)
    before = torch.get_num_threads()
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.add(encoder_module.fingerprint(network))
    torch.set_num_threads(before)
    assert len(found) == 1
