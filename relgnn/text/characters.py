"""A language model that reads characters: for texts in a script that the model does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

from relgnn.config import RelationConfig
from relgnn.data.relations import RelationData
from relgnn.runtime import Runtime
from relgnn.text.encoder import MODEL, PACKAGED, load_model, save_model

CHARACTERS = "characters"
"""What `text.model` calls it."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LEAST = 2
"""Texts of a character that has a vector of its own."""


def character_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token a character; white space is none.

    Full-width forms and capitals are the plain ones (NFKC, lower case); a character that fewer
    than `LEAST` different texts have is [UNK].
    """
    fold = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    counts = Counter(c for text in set(texts) for c in set(fold.normalize_str(text)))
    known = sorted(c for c, n in counts.items() if n >= LEAST and not c.isspace())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *known))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = fold
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)},
    )


def character_model(
    texts: Sequence[str], generator: torch.Generator, body: str | None = None
) -> tuple[Any, PreTrainedTokenizerFast]:
    """The layers of a language model over characters that are learned anew.

    A character that the model's own vocabulary has keeps its embedding; the others are drawn with
    the mean and the spread of all, so that the layers meet what they are used to.

    Args:
        texts: to be learned from; they make the vocabulary.
        generator: of the draws.
        body: the language model whose layers are taken; the packaged one where None.
    """
    network, known = load_model(body or PACKAGED)
    tokenizer = character_tokenizer(texts)
    old = network.get_input_embeddings().weight.detach()
    new = nn.Embedding(len(tokenizer), old.shape[1], padding_idx=tokenizer.pad_token_id)
    drawn = torch.randn(new.weight.shape, generator=generator)
    vocabulary = known.get_vocab()
    with torch.no_grad():
        new.weight.copy_(old.mean(0) + old.std(0) * drawn)
        for token, i in tokenizer.get_vocab().items():
            if token in vocabulary:
                new.weight[i] = old[vocabulary[token]]
    network.set_input_embeddings(new)
    network.config.vocab_size = len(tokenizer)
    network.config.pad_token_id = tokenizer.pad_token_id
    return network, tokenizer


def make_characters(
    config: RelationConfig, data: RelationData, runtime: Runtime, folder: Path
) -> None:
    """Leave the model that the configuration calls "characters" in a run folder.

    A model that is there already stays. Test is not read.
    """
    if config.text.model == CHARACTERS and not (folder / MODEL).exists():
        texts = [one.text for one in (*data.train, *data.unlabelled)]
        network, tokenizer = character_model(texts, runtime.torch_rng(CHARACTERS))
        save_model(network, tokenizer, folder / MODEL)


def with_characters(config: RelationConfig, folder: Path) -> RelationConfig:
    """The configuration with the run's own model in the place of "characters"."""
    if config.text.model != CHARACTERS:
        return config
    text = config.text.model_copy(update={"model": str(folder / MODEL)})
    return config.model_copy(update={"text": text})
