"""A BERT with random weights that knows the toy world's words."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.text.toy import WORDS

DRAWN = 96
"""Positions that are drawn with the other weights: these stay whatever the number of positions."""


def write_bert(
    folder: Path, layers: int = 3, positions: int = 128, special: tuple[str, ...] = ()
) -> str:
    """Write the model and return its folder.

    Args:
        folder: where to.
        layers, positions: of the network.
        special: tokens beyond padding, unknown, first and last: "[MASK]" is the mask.
    """
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *special]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*tokens, *WORDS]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = {"mask_token": "[MASK]"} if "[MASK]" in special else {}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", **names,
    ).save_pretrained(folder)  # fmt: skip
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=layers,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=DRAWN,
        initializer_range=0.15,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        weights = BertModel(config).state_dict()
        table = weights["embeddings.position_embeddings.weight"]
        more = 0.15 * torch.randn(max(0, positions - DRAWN), table.shape[1])
        weights["embeddings.position_embeddings.weight"] = torch.cat([table, more])[:positions]
        config.max_position_embeddings = positions
        model = BertModel(config)
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    return str(folder)
