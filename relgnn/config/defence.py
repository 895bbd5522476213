"""Configuration of the defence against planted sentences."""

from __future__ import annotations

from pydantic import Field

from relgnn.config.base import Count, Fraction, Section, Weight


class DefenceConfig(Section):
    """What counts as independent evidence, and how far text alone can lift a triple."""

    similarity: Fraction = Field(
        0.7, description="sentences of a pair that share this much of their shingles count once"
    )
    per_text: Count = Field(3, description="sentences of one text that count for a pair at most")
    burst: Weight = Field(
        3.0,
        description="texts that name two entities together, beyond what chance would have, above "
        "which nothing that text says of them counts for more than the other views do",
    )
    influence: Weight = Field(
        0.5, description="most that text adds to the log odds of the surest other view"
    )
