"""Configuration of what joins or replaces the supervised loss of a relation classifier."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Fraction, Probability, Rate, Section, Weight

Words = Annotated[list[str], Field(min_length=1)]


class AdversarialConfig(Section):
    """The loss of embeddings that are moved to where it is high."""

    kind: Literal["fgm", "pgd", "vat"] = Field(
        "fgm", description="one step up the loss, several, or away from the model's own answer"
    )
    epsilon: Rate = Field(
        0.05, description="length of the move, as a share of the sentence's embeddings' length"
    )
    steps: Count = Field(3, description="pgd: steps; vat: power iterations")
    step_size: Fraction = Field(0.5, description="pgd: length of a step, as a share of epsilon")
    weight: Weight = Field(1.0, description="of the loss there; 0: none")


class ContrastConfig(Section):
    """Sentences of one relation nearer to each other than to those of others."""

    kind: Literal["batch", "queue"] = Field(
        "batch", description="contrast within a batch, or with a queue of a momentum encoder's"
    )
    weight: Weight = Field(0.1, description="of the contrast; 0: none")
    temperature: Rate = Field(0.1, description="of the cosines' softmax")
    dim: Count = Field(128, description="width of the projected vectors")
    size: Count = Field(1024, description="sentences in the queue")
    momentum: Probability = Field(0.99, description="share the momentum encoder keeps at a step")


class DebiasConfig(Section):
    """Entity names alone should not decide."""

    weight: Weight = Field(
        0.0, description="of the supervised loss of sentences whose entities are hidden; 0: none"
    )
    subtract: Weight | Literal["valid"] = Field(
        0.0, description="share of the entities' own logits taken away; 'valid': valid chooses it"
    )


class FairnessConfig(Section):
    """Groups of sentences should be read equally well."""

    groups: dict[str, Words] = Field(
        min_length=2, description="name: words; a sentence is of the first group it has a word of"
    )
    weight: Weight = Field(0.0, description="of the gap between the groups' losses; 0: only report")

    @model_validator(mode="after")
    def _gap_is_told(self) -> FairnessConfig:
        if "gap" in self.groups:
            raise ValueError("has a group 'gap', as the report calls the gaps: name it otherwise")
        return self
