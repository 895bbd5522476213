"""Configuration of tuning few parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Dropout, Rate, Section

MERGED = ("lora", "adalora", "ia3")
"""Methods whose result is a language model of the old shape."""


class EfficientConfig(Section):
    """Which few parameters are tuned in place of the language model's own."""

    method: Literal["lora", "adalora", "ia3", "prefix", "adapter"] = Field(
        "lora", description="what is put into the language model"
    )
    rank: Count = Field(8, description="of LoRA, on average of AdaLoRA; width of an adapter")
    alpha: Rate = Field(16.0, description="LoRA's update is scaled by alpha / rank")
    dropout: Dropout = Field(0.0, description="of the input of LoRA's update")
    targets: list[str] | None = Field(
        None, description="ends of the names of the linear layers that change; null: the paper's"
    )
    tokens: Count = Field(16, description="keys and values of a prefix in each layer")
    save: Literal["adapter", "merged"] = Field(
        "adapter", description="what the checkpoint holds: what was tuned, or the whole model"
    )

    @model_validator(mode="after")
    def _can_be_merged(self) -> EfficientConfig:
        if self.save == "merged" and self.method not in MERGED:
            raise ValueError(
                f"cannot merge {self.method}, which is no change of weights; take save: adapter, "
                f"or one of {', '.join(MERGED)}"
            )
        return self
