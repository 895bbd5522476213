"""Models that write, through tiny ones made here: the augmenters' plumbing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
)

from relgnn.data.relations import Example
from relgnn.errors import InputError
from relgnn.text.augment import BackTranslation, Paraphrase
from relgnn.text.generation import load_writer, write

ONE = Example("Ada was born in Bonn.", (0, 3), (16, 20), 1, "PER", "LOC")


@pytest.fixture
def tiny_translator(tiny_causal: str, tmp_path: Path) -> str:
    _, tokenizer = load_writer(tiny_causal, AutoModelForCausalLM, "x")
    tokenizer.save_pretrained(tmp_path / "translator")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BartForConditionalGeneration(BartConfig(
            vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
            decoder_ffn_dim=16, max_position_embeddings=256, pad_token_id=0, bos_token_id=0,
            eos_token_id=0, decoder_start_token_id=0, forced_eos_token_id=None,
        )).save_pretrained(tmp_path / "translator")  # fmt: skip
    return str(tmp_path / "translator")


def test_what_is_written_follows_the_generator_and_not_the_global_state(tiny_causal: str) -> None:
    network, tokenizer = load_writer(tiny_causal, AutoModelForCausalLM, "x")
    before = torch.get_rng_state()
    first, second, other = (
        write(network, tokenizer, ["Ada", "Where is Bonn?", ""][:2], np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert first == second != other
    assert all(first) and torch.equal(before, torch.get_rng_state())
    assert write(network, tokenizer, [], np.random.default_rng(0)) == []


def test_a_prompt_is_not_part_of_the_answer(tiny_causal: str) -> None:
    network, tokenizer = load_writer(tiny_causal, AutoModelForCausalLM, "x")
    with torch.no_grad():  # it says "a", whatever it reads
        head = torch.nn.Linear(32, len(tokenizer))
        head.weight.zero_()
        head.bias.fill_(-100.0)
        head.bias[tokenizer("a")["input_ids"][0]] = 100.0
    network.set_output_embeddings(head)
    texts = write(network, tokenizer, ["Ada", "Where is Bonn?"], np.random.default_rng(0))
    assert set("".join(texts)) == {"a"}


def test_a_text_is_read_the_same_beside_longer_ones(
    tiny_causal: str, tiny_translator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Ada", "Where on earth is Bonn?"]
    for folder, kind, side in (
        (tiny_translator, AutoModelForSeq2SeqLM, "right"),
        (tiny_causal, AutoModelForCausalLM, "left"),
    ):
        network, tokenizer = load_writer(folder, kind, "x")
        asked: list[torch.Tensor] = []

        def generate(input_ids: torch.Tensor, _asked: Any = asked, **_: Any) -> torch.Tensor:
            _asked.append(input_ids)
            return input_ids

        monkeypatch.setattr(network, "generate", generate)
        write(network, tokenizer, texts, np.random.default_rng(0))
        short = tokenizer(texts[0])["input_ids"]
        row = asked[0][0].tolist()
        assert (row[: len(short)] if side == "right" else row[-len(short) :]) == short
        if side == "right":
            encode = network.get_encoder()
            mask = (torch.arange(len(row)) < len(short)).long()
            with torch.no_grad():
                beside = encode(asked[0][:1], attention_mask=mask[None]).last_hidden_state
                alone = encode(torch.tensor([short])).last_hidden_state
            torch.testing.assert_close(beside[:, : len(short)], alone, rtol=1e-4, atol=1e-4)


def test_half_a_translation_is_none(tiny_translator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tokenizer = load_writer(tiny_translator, AutoModelForSeq2SeqLM, "x")
    said = tokenizer("Bonn")["input_ids"]
    end = network.generation_config.eos_token_id
    asked: list[dict[str, Any]] = []

    def generate(input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        asked.append(options)
        whole = [end, *said, end]
        rows = [whole, [end, *said, said[0]]]
        return torch.tensor(rows[: len(input_ids)])

    monkeypatch.setattr(network, "generate", generate)
    long = "Ada " * 300
    texts = ["Ada", "Bonn is far", long]
    assert write(network, tokenizer, texts, np.random.default_rng(0)) == ["Bonn", "", ""]
    assert write(network, tokenizer, ["", " "], np.random.default_rng(0)) == ["", ""]
    # the long one, which has no place, was not asked for, nor one that says nothing
    assert len(asked) == 1 and asked[0]["max_new_tokens"] <= 256


def test_weights_that_cannot_be_read_are_told(tiny_causal: str, tmp_path: Path) -> None:
    shutil.copytree(tiny_causal, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="x: .*broken' cannot be loaded"):
        load_writer(str(tmp_path / "broken"), AutoModelForCausalLM, "x")


def test_random_models_give_nothing_that_breaks_the_contract(
    tiny_causal: str, tiny_translator: str
) -> None:
    translator = load_writer(tiny_translator, AutoModelForSeq2SeqLM, "x")
    assert translator[0].config.is_encoder_decoder
    causal = load_writer(tiny_causal, AutoModelForCausalLM, "x")
    chat = load_writer(tiny_causal, AutoModelForCausalLM, "x")
    chat[
        1
    ].chat_template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% endfor %}"
    assert Paraphrase(chat)._prompt(ONE).startswith("<user> Rewrite")
    for augmenter in (
        BackTranslation(translator, translator), Paraphrase(causal), Paraphrase(chat)
    ):  # fmt: skip
        found = augmenter.rewrite([ONE, ONE], np.random.default_rng(0))
        assert found == [None, None]  # noise names no one
        assert augmenter.augment([ONE], np.random.default_rng(0)) == []
