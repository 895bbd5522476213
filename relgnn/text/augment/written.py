"""Sentences that a language model writes anew: translated there and back, or paraphrased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relgnn.config.augmentation import PARAPHRASE
from relgnn.data.relations import Example
from relgnn.text.augment.base import Augmenter, relocated
from relgnn.text.generation import write

Writer = tuple[Any, Any]
"""A Hugging Face model and its tokenizer."""


class BackTranslation(Augmenter):
    """Translates a sentence into another language and back (Sennrich et al., 2016).

    What comes back without a mention is dropped.

    Args:
        there, back: translation models.
    """

    def __init__(self, there: Writer, back: Writer) -> None:
        self.there, self.back = there, back

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        foreign = write(*self.there, [one.text for one in examples], generator)
        again = write(*self.back, foreign, generator)
        return [relocated(one, text.strip()) for one, text in zip(examples, again, strict=True)]


class Paraphrase(Augmenter):
    """Asks a causal language model to say a sentence in other words.

    It is asked to keep both mentions; an answer without one is dropped.

    Args:
        writer: the model.
        prompt: with {head}, {tail} and {text}; a model with a chat template reads it as a message.
    """

    def __init__(self, writer: Writer, prompt: str = PARAPHRASE) -> None:
        self.writer, self.prompt = writer, prompt

    def rewrite(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> list[Example | None]:
        """See `Augmenter`."""
        answers = write(*self.writer, [self._prompt(one) for one in examples], generator)
        return [
            relocated(one, answer.strip().partition("\n")[0].strip())
            for one, answer in zip(examples, answers, strict=True)
        ]

    def _prompt(self, one: Example) -> str:
        head, tail = (one.text[a:b] for a, b in (one.head, one.tail))
        text = self.prompt.format(head=head, tail=tail, text=one.text)
        tokenizer = self.writer[1]
        if tokenizer.chat_template is None:
            return text
        asked: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        return asked
