"""Configuration of metric learning on other relations before few-shot tasks."""

from __future__ import annotations

from pydantic import Field

from relgnn.config.base import Count, Probability, Rate, Section, Weight


class MetricConfig(Section):
    """How an encoder is tuned, so that sentences of one relation are near each other."""

    sources: list[str] = Field(
        description="data sets whose other relations are learned", min_length=1
    )
    exclude: list[str] = Field(
        [], description="relations left out besides those of the data set that is measured"
    )
    held_out: int = Field(
        0, ge=0, description="learned relations kept out to select by; 0: the last step counts"
    )
    epochs: Count = Field(4, description="parts of the training, each followed by a selection")
    steps: Count = Field(100, description="steps of an epoch")
    ways: int = Field(16, ge=2, description="relations of a step")
    examples: int = Field(3, ge=2, description="sentences of each of them")
    most: Count = Field(200, description="sentences of a relation that are learned at most")
    lr: Rate = Field(1e-4, description="peak learning rate")
    temperature: Rate = Field(0.1, description="divides similarities in the loss")
    hide: Probability = Field(
        0.5, description="share of sentences with roles in the place of the entities' names"
    )
    described: Weight = Field(1.0, description="weight of telling sentences by the description")
