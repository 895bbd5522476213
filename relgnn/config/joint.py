"""Configuration of joint extraction: mentions and the relations between them."""

from __future__ import annotations

from pydantic import Field

from relgnn.config.base import Count, OtherDataConfig, RunConfig
from relgnn.config.fitting import Fitting
from relgnn.config.relations import WholeReaderConfig


class JointSettings(Fitting):
    """A span classifier and a relation classifier over one language model."""

    longest: Count = Field(10, description="words of a mention at most")
    negatives: Count = Field(100, description="spans of a sentence in a step that are no mention")
    width_dim: Count = Field(25, description="size of the embedding of a mention's length")


class JointConfig(RunConfig):
    """A run of joint extraction."""

    data: OtherDataConfig = Field(description="the data set")
    text: WholeReaderConfig = Field(
        default_factory=WholeReaderConfig, description="the language model"
    )
    joint: JointSettings = Field(description="how mentions and relations are learned")
