"""Configuration of relations between the entities of a document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Dropout, OtherDataConfig, RunConfig, Section, Weight
from relgnn.config.fitting import Fitting
from relgnn.config.relations import WholeReaderConfig


class DocumentTuning(Fitting):
    """How a language model is tuned on labelled documents."""

    batch_size: Count = Field(4, description="documents of a step")
    share: Dropout = Field(
        0.8, description="of valid that is trained on where there is no train; the rest selects"
    )
    block: Count = Field(32, description="size of the blocks of the bilinear classifier")


class DocumentSettings(Section):
    """How each relation of each pair of entities is scored."""

    method: Literal["match", "frequency", "tuned"] = Field(
        "match",
        description="match: names and descriptions to the text, nothing trained; frequency: how "
        "often the pair's types have the relation on valid; tuned: a model trained on documents",
    )
    distance: int = Field(1, ge=0, description="sentences between two mentions read together")
    types: Weight = Field(1.0, description="weight of the entities' types in a match")
    tuning: DocumentTuning = Field(
        default_factory=DocumentTuning, description="of the method 'tuned'"
    )


class DocumentConfig(RunConfig):
    """A run of relation extraction from documents."""

    data: OtherDataConfig = Field(description="the data set")
    text: WholeReaderConfig = Field(
        default_factory=lambda: WholeReaderConfig(max_tokens=256), description="the language model"
    )
    document: DocumentSettings = Field(description="how pairs are scored")
