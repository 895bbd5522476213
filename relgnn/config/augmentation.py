"""Configuration of rewritten training sentences, and of the search for rewrites that mislead."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Fraction, Probability, Section, Weight

AugmenterKind = Literal[
    "synonyms",
    "wordnet",
    "entity_swap",
    "distractors",
    "back_translation",
    "paraphrase",
    "adversarial",
]
AttackKind = Literal["synonyms", "entity_swap", "distractors"]

PARAPHRASE = (
    "Rewrite the sentence in other words. Keep the words '{head}' and '{tail}' as they are.\n"
    "Sentence: {text}\nRewritten:"
)


def require_fields(key: str, template: str, fields: tuple[str, ...]) -> None:
    """Refuse a template with braces around anything else.

    Raises:
        ValueError: it has; pydantic adds the section's name.
    """
    try:
        template.format(**dict.fromkeys(fields, ""))
    except (KeyError, ValueError, IndexError, AttributeError, TypeError):
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise ValueError(f"has a {key} that is no template; braces go around {known}") from None


class AugmentationConfig(Section):
    """Rewrites of the training sentences that keep both mentions and the label."""

    kinds: tuple[AugmenterKind, ...] = Field(
        ("synonyms",), min_length=1, description="each adds its own rewrites"
    )
    copies: Count = Field(1, description="rewrites of a sentence by each kind at most")
    weight: Weight = Field(1.0, description="of a rewrite's loss; that of a given sentence is 1")
    share: Fraction = Field(0.15, description="of a sentence's words that synonyms replace")
    neighbours: Count = Field(5, description="synonyms of a word at most, the nearest")
    min_similarity: Probability = Field(
        0.4, description="least cosine of the embeddings of a word and its synonym"
    )
    wordnet: Path | None = Field(None, description="a WordNet folder (index.noun, data.noun, …)")
    translation: tuple[str, str] | None = Field(
        None, description="two translation models, there and back: Hugging Face names or paths"
    )
    paraphraser: str = Field(
        "smollm2", description="causal model: 'smollm2' (packaged), a name, a path, a .gguf file"
    )
    prompt: str = Field(PARAPHRASE, description="of the paraphrase, with {head}, {tail}, {text}")

    @model_validator(mode="after")
    def _sources_are_there(self) -> AugmentationConfig:
        if "wordnet" in self.kinds and self.wordnet is None:
            raise ValueError("has kind wordnet and no folder; set augmentation.wordnet=PATH")
        if "back_translation" in self.kinds and self.translation is None:
            raise ValueError(
                "has kind back_translation and no models; set augmentation.translation=[THERE,BACK]"
            )
        require_fields("prompt", self.prompt, ("head", "tail", "text"))
        return self


class AttackConfig(Section):
    """The search for rewrites that change what a classifier says."""

    kinds: tuple[AttackKind, ...] = Field(
        ("synonyms", "entity_swap", "distractors"), min_length=1, description="ways to rewrite"
    )
    sentences: Count = Field(300, description="test sentences, the same for every run, at most")
    budget: Count = Field(40, description="rewrites of a sentence that may be read, by each kind")
    neighbours: Count = Field(8, description="synonyms of a word that are tried")
    min_similarity: Probability = Field(
        0.4, description="least cosine of the embeddings of a word and its synonym"
    )
