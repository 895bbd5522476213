"""Configuration of self-supervised pre-training that goes on where a language model's ended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from relgnn.config.base import Count, Fraction, Probability, Rate, Section


class PretrainingConfig(Section):
    """What a language model learns from texts alone."""

    objectives: Literal["mlm", "nsp", "both"] = Field(
        "mlm", description="guess hidden tokens, tell whether a sentence follows another, or both"
    )
    epochs: Count = Field(3, description="passes over the texts")
    head_epochs: Count = Field(
        1, description="passes before, in which only the new heads learn; then 'before' is measured"
    )
    batch_size: Count = Field(32, description="rows of a step")
    lr: Rate = Field(1e-4, description="peak learning rate of the language model")
    head_lr: Rate = Field(1e-3, description="peak learning rate of the heads")
    share: Fraction = Field(0.15, description="share of the tokens or words that are hidden")
    entities: Probability = Field(
        0.0,
        description="how likely a known mention is hidden whole, other words then whole as well; "
        "0: single tokens, whatever they belong to",
    )
    held_out: Count = Field(
        200, description="texts that are measured and not learnt, a tenth of all (or two) at most"
    )
