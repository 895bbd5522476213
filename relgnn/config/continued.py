"""Configuration of going on with a finished run on new labelled sentences."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from relgnn.config.base import Probability, Section


class ContinuedConfig(Section):
    """One continuation of a run; `relgnn run --continue RUN --data NEW` writes it."""

    run: Path = Field(description="folder of the finished run whose checkpoint is the start")
    data: Path = Field(description="folder of the new labelled sentences")
    replay: Probability = Field(
        0.3, description="share of the old training sentences that is learnt again"
    )
    tolerance: Probability = Field(
        0.02, description="how far F1 on the old valid set may fall for the result to be accepted"
    )
    seed: int = Field(0, ge=0, description="of the draws: what is replayed, and a missing valid")
