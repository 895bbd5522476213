"""How a whole language model is trained, whatever for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Dropout, Rate, Section, Weight


class Fitting(Section):
    """Rates, steps and stopping."""

    epochs: Count = Field(20, description="passes over the training part at most")
    batch_size: Count = Field(8, description="sentences or documents of a step")
    lr: Rate = Field(2e-4, description="peak learning rate of the language model")
    head_lr: Rate = Field(1e-3, description="peak learning rate of everything above it")
    weight_decay: Weight = Field(0.01, description="decoupled weight decay")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.1, description="share of all steps over which the rate rises")
    clip: Weight = Field(1.0, description="largest gradient norm; 0: no clipping")
    dropout: Dropout = Field(0.1, description="of what is above the language model, and of it")
    patience: Count | None = Field(
        None, description="epochs without gain on valid before stopping; null: all epochs"
    )
    refit: bool = Field(
        False, description="train again on train and valid for as many epochs as valid chose"
    )
