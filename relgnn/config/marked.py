"""Configuration of a data set of marked sentences."""

from __future__ import annotations

from pydantic import Field, model_validator

from relgnn.config.base import OtherDataConfig, Weight


class MarkedDataConfig(OtherDataConfig):
    """Which marked sentences, and how much of them is given."""

    negatives: Weight | None = Field(
        None,
        description="training pairs of fitting types without a relation for each stated one; valid "
        "and test then have all such pairs; null: stated ones alone",
    )

    @model_validator(mode="after")
    def _whole(self) -> MarkedDataConfig:
        if self.negatives is not None and self.fraction < 1:
            raise ValueError("data.negatives needs all labels: set data.fraction=1")
        return self
