"""Two-layer causal models with random weights that read bytes."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)


def write_causal(folder: Path, kind: str = "llama", positions: int = 1024) -> str:
    """Write a model of the kind "llama" or "gpt2", and return the folder."""
    letters = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    ids = {
        "vocab_size": len(letters), "bos_token_id": 0, "eos_token_id": 0,
        "initializer_range": 0.3,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if kind == "llama":
            LlamaForCausalLM(LlamaConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=positions, **ids,
            )).save_pretrained(folder)  # fmt: skip
        else:
            GPT2LMHeadModel(GPT2Config(
                n_embd=32, n_layer=2, n_head=4, n_positions=positions, **ids,
            )).save_pretrained(folder)  # fmt: skip
    return str(folder)
