"""Configuration of what unlabelled sentences teach."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.base import Count, Dropout, Fraction, Section, Weight


class SemiConfig(Section):
    """How a relation classifier learns from sentences without a label."""

    kind: Literal["self_training", "mean_teacher", "fixmatch"] = Field(
        "self_training", description="rounds of pseudo-labels, or a loss in every step"
    )
    selector: Literal["fixed", "flex", "free", "soft", "precision", "class_top"] = Field(
        "soft", description="which pseudo-labels count, and how much; not of mean_teacher"
    )
    threshold: Fraction = Field(0.95, description="probability that fixed and flex ask for")
    min_probability: Fraction = Field(
        0.3, description="in self-training, and of flex, nothing below is taken"
    )
    precision: Fraction = Field(0.9, description="expected precision that precision keeps")
    top: Weight = Field(3.0, description="pseudo-labels of class_top per gold one of a label")
    soft_targets: bool = Field(
        False, description="self-training learns all probabilities, not the likeliest label"
    )
    weight: Weight = Field(1.0, description="of the unlabelled loss beside the supervised one")
    ratio: Count = Field(1, description="unlabelled sentences of a step per labelled one")
    ramp_up: int = Field(0, ge=0, description="steps over which the weight rises")
    rounds: Count = Field(1, description="of self-training after the fit to gold labels")
    decay: Fraction = Field(0.99, description="what mean_teacher's weights keep at a step")
    momentum: Dropout = Field(0.99, description="what statistics of free and soft keep at a step")
    mask: Dropout = Field(
        0.15, description="share of tokens hidden from the student, outside of mentions"
    )

    @model_validator(mode="after")
    def _selector_of_kind(self) -> SemiConfig:
        if self.kind == "fixmatch" and self.selector in ("precision", "class_top"):
            raise ValueError(
                f"semi.selector {self.selector!r} judges all sentences at once: set "
                "semi.kind=self_training, or take fixed, flex, free or soft"
            )
        return self
